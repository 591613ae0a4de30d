//! The filter of system calls: no socket but the one kind that reads the source, and none of the calls that encoders
//! never make and attackers do. It closes what Landlock and the network namespace leave open: sockets in the file
//! system, datagrams where the network is shared, processes that leave their group, and rarely used parts of the
//! kernel. It is a list of what is denied: what encoders, threads and the C library call differs by version.

use super::handover::Refusal;
use nix::libc;
use reelmill_worker_core::sandbox::orders::Reach;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use std::collections::BTreeMap;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Never made by an encoder, whatever the arguments.
const DENIED: &[i64] = &[
    // others' processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    // out of the group in which a child is killed
    libc::SYS_setsid,
    libc::SYS_setpgid,
    // another view of the machine
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    // parts of the kernel that are none of its business; io_uring makes sockets, too
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
];

/// Namespaces that `clone` could make.
const NEW_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Kinds of sockets beside streams: datagrams, raw, reliable datagrams, sequenced packets, DCCP, packets.
const OTHER_KINDS: [u64; 6] = [2, 3, 4, 5, 6, 10];

/// Holds this process to the filter, and what it becomes.
pub(super) fn apply(reach: Reach) -> Result<(), Refusal> {
    let failed = |e: &dyn std::error::Error| Refusal::step("no filter of system calls", e);
    let denied = denied(reach).map_err(|e| failed(&e))?;
    // clone3 hides its flags from a filter; told that it is not there, the C library uses clone
    let absent = Rules::from([(libc::SYS_clone3, Vec::new())]);
    for (rules, errno) in [(absent, libc::ENOSYS), (denied, libc::EACCES)] {
        let program = compile(rules, errno).map_err(|e| failed(&e))?;
        apply_filter(&program).map_err(|e| failed(&e))?;
    }
    Ok(())
}

fn compile(rules: Rules, errno: libc::c_int) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), arch)?.try_into()
}

fn denied(reach: Reach) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let namespaces = NEW_NAMESPACES
        .map(|flag| SeccompRule::new(vec![argument(0, SeccompCmpOp::MaskedEq(flag as u64), flag as u64)?]));
    rules.insert(libc::SYS_clone, namespaces.into_iter().collect::<Result<_, _>>()?);
    let mut sockets = Vec::new();
    if reach != Reach::Nothing {
        sockets.push(SeccompRule::new(vec![argument(0, SeccompCmpOp::Ne, libc::AF_INET as u64)?])?);
        // MPTCP and SCTP are streams that Landlock does not take for TCP
        let no_default = argument(2, SeccompCmpOp::Ne, 0)?;
        let no_tcp = argument(2, SeccompCmpOp::Ne, libc::IPPROTO_TCP as u64)?;
        sockets.push(SeccompRule::new(vec![no_default, no_tcp])?);
        for kind in OTHER_KINDS {
            sockets.push(SeccompRule::new(vec![argument(1, SeccompCmpOp::MaskedEq(0xf), kind)?])?);
        }
    }
    rules.insert(libc::SYS_socket, sockets);
    Ok(rules)
}

fn argument(index: u8, how: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, how, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_on_this_processor() {
        for reach in [Reach::Nothing, Reach::Own, Reach::Port(9)] {
            let rules = denied(reach).unwrap();
            // an empty list of conditions denies the call whatever its arguments
            assert_eq!(rules[&libc::SYS_socket].is_empty(), reach == Reach::Nothing);
            assert!(!compile(rules, libc::EACCES).unwrap().is_empty());
        }
    }
}
