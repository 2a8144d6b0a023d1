//! The rules of the front door's entrance, from the settings.

use std::collections::HashMap;

use model::Trouble;
use proxy::{DoorTls, Entrance, Network, UserRule};
use toml::Spanned;

use super::Environment;
use super::resolve::{secret, within};
use super::source_text::SourceText;
use super::tls::{pair, unusable};
use super::written::{WrittenFrontDoor, WrittenUser};

/// Reads the certificates and the accounts' passwords.
///
/// # Errors
/// The first thing that is not right.
pub fn resolve(
    source: &SourceText,
    door: &WrittenFrontDoor,
    env: Environment<'_>,
) -> Result<Entrance, Trouble> {
    let tls = tls(source, door)?;
    if *door.tls_required.get_ref() && tls.is_none() {
        return Err(source.refuse(
            door.tls_required.span(),
            "`front_door.tls_required` lets nobody in: the door has no certificate",
            "set `tls_cert` and `tls_key` too",
        ));
    }
    let users = door
        .users
        .iter()
        .map(|(name, one)| Ok((name.clone().into_bytes(), user(source, name, one.get_ref(), door, env)?)))
        .collect::<Result<HashMap<_, _>, Trouble>>()?;
    Ok(Entrance {
        tls,
        tls_required: *door.tls_required.get_ref(),
        login_max: door.login_max,
        handshakes_max: within(source, "front_door.handshakes_max", &door.handshakes_max, 1..=100_000)?,
        logins_per_second: door.logins_per_second,
        proxy_protocol_from: networks(source, &door.proxy_protocol_from)?,
        users,
    })
}

fn tls(source: &SourceText, door: &WrittenFrontDoor) -> Result<Option<DoorTls>, Trouble> {
    let Some((cert, key)) = pair(source, "[front_door]", &door.tls_cert, &door.tls_key)? else {
        return match &door.tls_client_ca {
            None => Ok(None),
            Some(ca) => Err(source.refuse(
                ca.span(),
                "`front_door.tls_client_ca` is for a door that has a certificate itself",
                "set `tls_cert` and `tls_key` too, or remove it",
            )),
        };
    };
    let client_ca = door.tls_client_ca.as_ref().map(|ca| source.beside(ca.get_ref()));
    DoorTls::new(&cert, &key, client_ca.as_deref())
        .map(Some)
        .map_err(|e| unusable(source, &e, &[&door.tls_cert, &door.tls_key, &door.tls_client_ca]))
}

fn user(
    source: &SourceText,
    name: &str,
    written: &WrittenUser,
    door: &WrittenFrontDoor,
    env: Environment<'_>,
) -> Result<UserRule, Trouble> {
    let key = |key: &str| format!("front_door.users.{name}.{key}");
    if let (Some(certificate), None) = (&written.certificate, &door.tls_client_ca)
        && *certificate.get_ref()
    {
        return Err(source.refuse(
            certificate.span(),
            format!("`{}` lets nobody in: the door believes no certificate", key("certificate")),
            "set `front_door.tls_client_ca` too",
        ));
    }
    let clients_max = written.clients_max.as_ref();
    let clients_max =
        clients_max.map(|max| within(source, &key("clients_max"), max, 1..=1_000_000)).transpose()?;
    let whose = format!("account '{name}'");
    Ok(UserRule {
        clients_max,
        from: networks(source, &written.from)?,
        certificate: written.certificate.as_ref().is_some_and(|yes| *yes.get_ref()),
        password: secret(source, &whose, &written.password_env, &written.password_file, env)?,
    })
}

fn networks(source: &SourceText, written: &[Spanned<String>]) -> Result<Vec<Network>, Trouble> {
    let one = |text: &Spanned<String>| {
        text.get_ref().parse().map_err(|wrong: String| {
            source.refuse(
                text.span(),
                wrong,
                "write addresses, or ranges with the number of leading bits that count",
            )
        })
    };
    written.iter().map(one).collect()
}
