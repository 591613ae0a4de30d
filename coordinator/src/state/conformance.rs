//! What every state store and its leadership must do, as one suite: run over memory, embedded and a real etcd.
