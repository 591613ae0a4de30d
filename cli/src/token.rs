//! `reelmill token new`: a token, shown once, and the entry by which the access file knows it.

use crate::args::{NewToken, TokenArgs, TokenCommand};
use crate::exit::{CommandResult, Exit, Failure};
use crate::request::usage;
use reelmill_common::TenantId;
use reelmill_common::ids::Label;
use reelmill_coordinator::access::{Role, token};
use std::time::SystemTime;

/// Prints it.
pub(crate) fn run(args: TokenArgs) -> CommandResult {
    let TokenCommand::New(new) = args.command;
    let secret = token::generate();
    let entry = entry(&new, &token::hash(&secret).to_hex(), SystemTime::now())?;
    println!("{}", secret.reveal());
    println!();
    println!("# for the access file; the token above is kept nowhere");
    print!("{entry}");
    Ok(Exit::Done)
}

fn entry(new: &NewToken, sha256: &str, now: SystemTime) -> Result<String, Failure> {
    Label::parse(&new.name).map_err(|e| usage(format!("--name: {e}")))?;
    let role = Role::parse(&new.role).ok_or_else(|| usage(format!("--role {} is none", new.role)))?;
    let mut text = format!("[[token]]\nname = \"{}\"\nsha256 = \"{sha256}\"\nrole = \"{role}\"\n", new.name);
    if let Some(tenant) = &new.tenant {
        let tenant = TenantId::parse(tenant).map_err(|e| usage(format!("--tenant: {e}")))?;
        if role != Role::Submit {
            return Err(usage(format!("--tenant goes with the role submit; {role} is of no tenant")));
        }
        text += &format!("tenant = \"{tenant}\"\n");
    }
    if let Some(expires) = new.expires {
        let until =
            now.checked_add(*expires).ok_or_else(|| usage(format!("--expires {expires} is too long")))?;
        text += &format!("expires = {}\n", humantime::format_rfc3339_seconds(until));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn new(role: &str, tenant: Option<&str>) -> NewToken {
        NewToken {
            name: "ci".to_owned(),
            role: role.to_owned(),
            tenant: tenant.map(str::to_owned),
            expires: Some(Duration::from_secs(3_600).into()),
        }
    }

    #[test]
    fn the_entry_says_everything_but_the_token() {
        let text = entry(&new("submit", Some("studio")), "00ff", SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(
            text,
            "[[token]]\nname = \"ci\"\nsha256 = \"00ff\"\nrole = \"submit\"\ntenant = \"studio\"\n\
             expires = 1970-01-01T01:00:00Z\n"
        );
        assert!(entry(&new("worker", Some("studio")), "00ff", SystemTime::UNIX_EPOCH).is_err());
        assert!(
            entry(&NewToken { name: "C I".to_owned(), ..new("worker", None) }, "", SystemTime::now())
                .is_err()
        );
    }
}
