//! What an error of a MySQL connection means to an operator.
//!
//! Invariant: a server's message is shown only with the parts in quotes that can hold a row's value left out.

use model::Trouble;
use mysql::{ErrPacket, Error};

/// Turns an error into its three parts.
///
/// `doing` says what was being done, verb and object (`read the tables of shop`); `state` says what state things
/// are in now that it failed.
pub fn from_mysql(error: &Error, doing: &str, state: &str) -> Trouble {
    let (what, hint) = match error {
        Error::Connect { address, source } => {
            let hint = match source.kind() {
                std::io::ErrorKind::ConnectionRefused => {
                    "start the server there, or correct `host` and `port`"
                }
                std::io::ErrorKind::TimedOut => {
                    "check the network and its firewalls between here and the server"
                }
                _ => "check `host` and `port` in the settings, and the network between here and the server",
            };
            (format!("cannot connect to {address}: {source}"), hint)
        }
        Error::Login { address, user, error } => {
            (format!("{address} refuses account '{user}': {}", shown(error)), login_hint(error.code))
        }
        Error::UntrustedKey { address } => (
            format!("{address} asks for the password, and its public key is not trusted"),
            "set `tls = \"verify_ca\"` and `tls_ca` of this cluster, or `server_public_key` to a file with the server's RSA \
             public key (its public_key.pem)",
        ),
        Error::Tls { .. } => (
            error.to_string(),
            "see whether `tls`, `tls_ca` and `host` of this cluster fit the certificate the server shows, and its clock \
             the certificate's dates",
        ),
        Error::Server(error) => (shown(error), server_hint(error)),
        Error::Lost(source) => (
            format!("the server went away: {source}"),
            "check the server's error log and the network, then run this again",
        ),
        Error::Wire(_) | Error::Unexpected(_) => (
            format!("the server's answer was not understood: {error}"),
            "check that `host` and `port` name a MySQL server of a supported version, with nothing in between",
        ),
    };
    Trouble::new(format!("cannot {doing}: {what}"), state, hint)
}

fn login_hint(code: u16) -> &'static str {
    match code {
        1045 => "correct `user` and its password in the settings, or create the account on the server",
        1130 => "create the account for the address of this machine",
        1040 | 1203 => "raise `max_connections` on the server, or free some connections",
        1129 => "run FLUSH HOSTS on the server, after finding out what made it block this machine",
        1820 | 1862 => "set a new password for the account: the present one has expired",
        3118 => "unlock the account",
        3159 => "set `tls` of this cluster in the settings: the server takes no plain connections",
        _ => "look for the error in the server's log",
    }
}

fn server_hint(error: &ErrPacket) -> &'static str {
    if is_disk_full(error) {
        return "free disk space on that server; highwater goes on where it stopped";
    }
    match error.code {
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1410 => {
            "grant highwater's account what `highwater check` lists, then run this again"
        }
        1290 | 1792 | 1836 if is_read_only(error) => {
            "the server is read-only; find out why before you change it: it may be a replica, or fenced by a cutover"
        }
        1049 | 1051 | 1054 | 1146 => "check the move's tables in the settings against what is on the server",
        1205 | 1213 | 3024 => "another session is in the way; look for long transactions on the server",
        1040 | 1203 => "raise `max_connections` on the server, or free some connections",
        1053 | 1152..=1161 | 1927 | 3169 => {
            "the server ended the connection; check its error log, then run this again"
        }
        1236 => {
            "the server no longer has the binary log that is needed; keep it longer and begin the copy again"
        }
        _ => "look for the error in the server's log",
    }
}

/// 1290 says "is running with the X option", whatever X is.
fn is_read_only(error: &ErrPacket) -> bool {
    error.code != 1290 || error.message.contains("read-only") || error.message.contains("read_only")
}

/// Besides the errors made for it, a full disk shows as error 28 of the operating system inside another one.
fn is_disk_full(error: &ErrPacket) -> bool {
    matches!(error.code, 1021 | 1114 | 3675)
        || error.message.contains("No space left on device")
        || error.message.contains("errno: 28")
}

/// Errors whose quotes hold names only: of accounts, schemas, tables, columns, commands, options.
const QUOTES_NAMES: &[u16] = &[
    1040, 1044, 1045, 1049, 1051, 1054, 1114, 1129, 1130, 1142, 1143, 1146, 1193, 1227, 1290, 1370, 3118,
    3159,
];

fn shown(error: &ErrPacket) -> String {
    let message = &error.message;
    let message = match (message.find('\''), message.rfind('\'')) {
        _ if QUOTES_NAMES.contains(&error.code) => message.clone(),
        // From the first to the last one: a value may itself hold a quote. One alone opens a value that was cut.
        (Some(from), Some(to)) if from < to => format!("{}'...'{}", &message[..from], &message[to + 1..]),
        (Some(from), _) => format!("{}'...", &message[..from]),
        _ => message.clone(),
    };
    format!("server error {}: {message}", error.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: Error, what: &str, hint_has: &str) {
        let trouble = from_mysql(&error, "read the tables of shop", "nothing was changed");
        assert_eq!(trouble.what, what);
        assert_eq!(trouble.state, "nothing was changed");
        assert!(trouble.hint.contains(hint_has), "{}", trouble.hint);
    }

    fn server(code: u16, message: &str) -> Error {
        Error::Server(ErrPacket::new(code, b"HY000", message))
    }

    #[test]
    fn unreachable_server_is_named() {
        check(
            Error::Connect {
                address: "db:3306".into(),
                source: std::io::ErrorKind::ConnectionRefused.into(),
            },
            "cannot read the tables of shop: cannot connect to db:3306: connection refused",
            "start the server there",
        );
    }

    #[test]
    fn wrong_password_points_at_the_settings() {
        let error = ErrPacket::new(1045, b"28000", "Access denied for user 'hw'@'h' (using password: YES)");
        check(
            Error::Login { address: "db:3306".into(), user: "hw".into(), error },
            "cannot read the tables of shop: db:3306 refuses account 'hw': \
             server error 1045: Access denied for user 'hw'@'h' (using password: YES)",
            "correct `user` and its password",
        );
    }

    #[test]
    fn untrusted_key_says_which_setting_trusts_it() {
        check(
            Error::UntrustedKey { address: "db:3306".into() },
            "cannot read the tables of shop: db:3306 asks for the password, and its public key is not trusted",
            "server_public_key",
        );
    }

    #[test]
    fn untrusted_certificate_points_at_the_settings() {
        check(
            Error::Tls {
                address: "db:3306".into(),
                reason: "invalid peer certificate: UnknownIssuer".into(),
            },
            "cannot read the tables of shop: no TLS with db:3306: invalid peer certificate: UnknownIssuer",
            "`tls_ca`",
        );
    }

    #[test]
    fn missing_privilege_keeps_its_names() {
        for (code, message) in [
            (1142, "SELECT command denied to user 'hw'@'h' for table 'orders'"),
            (1227, "Access denied; you need (at least one of) the SUPER privilege(s) for this operation"),
        ] {
            check(
                server(code, message),
                &format!("cannot read the tables of shop: server error {code}: {message}"),
                "grant",
            );
        }
    }

    #[test]
    fn read_only_is_told_from_other_options() {
        let running = |option: &str| {
            format!(
                "The MySQL server is running with the {option} option so it cannot execute this statement"
            )
        };
        let what = |text: &str| format!("cannot read the tables of shop: server error 1290: {text}");
        check(
            server(1290, &running("--super-read-only")),
            &what(&running("--super-read-only")),
            "is read-only",
        );
        check(
            server(1290, &running("--skip-grant-tables")),
            &what(&running("--skip-grant-tables")),
            "server's log",
        );
        check(
            server(1836, "Running in read-only mode"),
            "cannot read the tables of shop: server error 1836: Running in read-only mode",
            "is read-only",
        );
    }

    #[test]
    fn full_disk_is_found_inside_other_errors() {
        for (code, message) in [
            (1021, "Disk full (/tmp); waiting for someone to free some space..."),
            (1114, "The table 'orders' is full"),
            (1026, "Error writing file (errno: 28 - No space left on device)"),
        ] {
            check(
                server(code, message),
                &format!("cannot read the tables of shop: server error {code}: {message}"),
                "free disk space",
            );
        }
    }

    #[test]
    fn row_values_in_a_message_are_not_shown() {
        check(
            server(1062, "Duplicate entry 'o'hara@example.com' for key 'users.mail'"),
            "cannot read the tables of shop: server error 1062: Duplicate entry '...'",
            "server's log",
        );
        check(
            server(1064, "You have an error in your SQL syntax near 'INSERT INTO t VALUES (secr"),
            "cannot read the tables of shop: server error 1064: You have an error in your SQL syntax near '...",
            "server's log",
        );
    }

    #[test]
    fn lost_connection_is_not_blamed_on_the_settings() {
        check(
            Error::Lost(std::io::ErrorKind::UnexpectedEof.into()),
            "cannot read the tables of shop: the server went away: unexpected end of file",
            "error log",
        );
    }
}
