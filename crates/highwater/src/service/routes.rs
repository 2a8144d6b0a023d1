//! Where the front door sends whom when it opens: what the settings say, and how far the moves have come.

use std::collections::BTreeMap;

use migrate::cutover::Home;
use proxy::{Backend, Control, DoorOptions};

use super::backend;
use crate::config::{ClusterConfig, MoveConfig, MoveRoute, ResolvedConfig};

/// The cluster that serves now what the settings say a cluster serves: the target of a move that took everything along.
pub(super) fn serving<'a>(
    config: &'a ResolvedConfig,
    home_of: &dyn Fn(&MoveConfig) -> Home,
    cluster: &'a ClusterConfig,
) -> &'a ClusterConfig {
    let took_all = |one: &&MoveConfig| {
        one.source == cluster.name && config.route_of(one).is_none() && home_of(one) == Home::New
    };
    config.moves.iter().find(took_all).map_or(cluster, |one| config.target_of(one))
}

/// What goes to clusters of its own.
pub(super) fn at_first(config: &ResolvedConfig, home_of: &dyn Fn(&MoveConfig) -> Home) -> proxy::Routes {
    let mut routes = proxy::Routes::default();
    for (schema, cluster) in &config.front_door.schemas {
        let cluster = serving(config, home_of, &config.clusters[cluster]);
        routes.schemas.insert(schema.clone(), backend(cluster));
    }
    for one in &config.moves {
        let side = match home_of(one) {
            Home::Old => config.source_of(one),
            Home::New => config.target_of(one),
        };
        match config.route_of(one) {
            Some(MoveRoute::Schemas(schemas)) => {
                routes.schemas.extend(schemas.into_iter().map(|schema| (schema, backend(side))));
            }
            Some(MoveRoute::Users { users, schemas }) => {
                let users = users.into_iter().map(String::into_bytes).collect();
                routes.parties.push(proxy::Party { users, schemas, backend: backend(side) });
            }
            None => {}
        }
    }
    for (user, cluster) in &config.front_door.users {
        routes.users.insert(user.clone().into_bytes(), backend(&config.clusters[cluster]));
    }
    routes
}

/// Who is sent to which server: `everything else`, `schema NAME`, `account NAME`, each with host and port.
pub(super) type Destinations = BTreeMap<String, String>;

/// What everything goes to that has no route.
const THE_REST: &str = "everything else";

/// Where a door sends whom now.
pub(super) fn destinations(control: &Control) -> Destinations {
    control.routes().into_iter().map(|route| (route.of, route.address)).collect()
}

/// Where a door that is opened like this will send whom, in the same words.
pub(super) fn destinations_of(options: &DoorOptions) -> Destinations {
    let at = |backend: &Backend| format!("{}:{}", backend.host, backend.port);
    let schema =
        |(name, backend): (&String, &Backend)| (format!("schema {}", name.to_ascii_lowercase()), at(backend));
    let user = |(name, backend): (&Vec<u8>, &Backend)| {
        (format!("account {}", String::from_utf8_lossy(name)), at(backend))
    };
    let mut all: Destinations = options.routes.schemas.iter().map(schema).collect();
    all.extend(options.routes.users.iter().map(user));
    all.insert(THE_REST.to_owned(), at(&options.writer));
    all
}

/// The first whom one door sends to another server than the other does, and the two. What has no route goes with the rest.
pub(super) fn difference<'a>(
    old: &'a Destinations,
    new: &'a Destinations,
) -> Option<(&'a str, &'a str, &'a str)> {
    let of = |all: &'a Destinations, name: &str| {
        all.get(name).or_else(|| all.get(THE_REST)).map(String::as_str).unwrap_or_default()
    };
    let names = old.keys().chain(new.keys());
    names.map(|name| (name.as_str(), of(old, name), of(new, name))).find(|(_, old, new)| old != new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_to_where_the_rest_goes_is_no_difference_and_any_other_server_is() {
        let all = |pairs: &[(&str, &str)]| -> Destinations {
            pairs.iter().map(|&(of, at)| (of.to_owned(), at.to_owned())).collect()
        };
        let old = all(&[("everything else", "a:1"), ("schema shop", "a:1"), ("account x", "b:1")]);
        assert_eq!(difference(&old, &all(&[("everything else", "a:1"), ("account x", "b:1")])), None);
        assert_eq!(difference(&old, &all(&[("everything else", "a:1")])), Some(("account x", "b:1", "a:1")));
        let moved = all(&[("everything else", "a:1"), ("schema new", "c:1"), ("account x", "b:1")]);
        assert_eq!(difference(&old, &moved), Some(("schema new", "a:1", "c:1")));
    }

    #[test]
    fn schemas_are_where_their_moves_have_come_to_and_the_rest_where_the_settings_say() {
        let folder = std::env::temp_dir().join(format!("hw-routes-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("password"), "x").unwrap();
        let file = folder.join("highwater.toml");
        let settings = |moves: &[(&str, &str, &str)], more: &str| {
            let mut text = String::new();
            for cluster in ["main", "a", "b", "third"] {
                text += &format!(
                    "[clusters.{cluster}]\nhost = '{cluster}'\nuser = 'h'\npassword_file = 'password'\n"
                );
            }
            for (name, tables, target) in moves {
                text += &format!(
                    "[moves.{name}]\nsource = 'main'\ntarget = '{target}'\ntables = ['{tables}']\n{more}\n"
                );
            }
            text +=
                "[front_door]\nschemas = { old = 'main', more = 'third' }\nusers.reports.cluster = 'third'\n";
            std::fs::write(&file, text).unwrap();
            crate::config::load(&file).unwrap()
        };
        let shown = |config: &ResolvedConfig, crossed: &str| {
            let home_of = |one: &MoveConfig| if one.spec.name == crossed { Home::New } else { Home::Old };
            let routes = at_first(config, &home_of);
            assert_eq!(routes.users[b"reports".as_slice()].id, "third");
            let schemas = routes.schemas.iter().map(|(schema, cluster)| format!("{schema} {}", cluster.id));
            let writer = serving(config, &home_of, config.first_writer().unwrap()).name.clone();
            [vec![writer], schemas.collect()].concat().join(", ")
        };
        let two =
            settings(&[("orders", "orders.*", "a"), ("catalog", "catalog.*", "b")], "fence = 'schemas'");
        assert_eq!(shown(&two, ""), "main, catalog main, more third, old main, orders main");
        assert_eq!(shown(&two, "orders"), "main, catalog main, more third, old main, orders a");
        // One with the server's fence takes everything along.
        let one = settings(&[("orders", "orders.*", "a")], "");
        assert_eq!(shown(&one, ""), "main, more third, old main");
        assert_eq!(shown(&one, "orders"), "a, more third, old a");
        // Accounts are where theirs has come to, and the schema leads nobody else there.
        let users = settings(&[("orders", "orders.*", "a")], "fence = 'schemas'\nusers = ['app', 'jobs']");
        for crossed in ["", "orders"] {
            assert_eq!(shown(&users, crossed), "main, more third, old main");
            let home_of = |_: &MoveConfig| if crossed.is_empty() { Home::Old } else { Home::New };
            let parties = at_first(&users, &home_of).parties;
            let names = parties[0].users.iter().map(|user| String::from_utf8_lossy(user)).collect::<Vec<_>>();
            assert_eq!((parties.len(), names.join(" ")), (1, "app jobs".to_owned()));
            assert_eq!(parties[0].schemas, ["orders"]);
            assert_eq!(parties[0].backend.id, if crossed.is_empty() { "main" } else { "a" });
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
