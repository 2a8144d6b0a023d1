//! The shop end to end on a real server: built, shopped in, checked; and the check notices what is taken away.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use load::{History, Scale, Shop, ShopperOptions, Shoppers};
use mysql::{ConnectOptions, Connection, Password};
use sandbox::{ADMIN_PASSWORD, ADMIN_USER, Mysqld, Node, NodeOptions, SHOP_PASSWORD, SHOP_USER};

const SCALE: Scale = Scale { rows: 15_000 };

struct Setting {
    admin: ConnectOptions,
    shop: ConnectOptions,
    _node: Node,
}

async fn built(name: &str) -> Setting {
    let node = Node::start(&Mysqld::find().unwrap(), NodeOptions::new(name)).unwrap();
    let account =
        |user, password: &str| ConnectOptions::new("127.0.0.1", node.port(), user, Password::new(password));
    let (admin, shop) = (account(ADMIN_USER, ADMIN_PASSWORD), account(SHOP_USER, SHOP_PASSWORD));
    let summary = Shop::create(&admin, SCALE, 7).await.unwrap();
    assert!(summary.rows >= SCALE.rows);
    Setting { admin, shop, _node: node }
}

async fn shopped(setting: &Setting, seconds: u64) -> History {
    let options = ShopperOptions {
        shoppers: 16,
        think: Duration::ZERO..Duration::from_millis(2),
        ..ShopperOptions::new(setting.shop.clone())
    };
    let shoppers = Shoppers::start(options).await.unwrap();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    assert_eq!(shoppers.live().active, 16);
    shoppers.stop().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn shoppers_orders_all_check_out() {
    let setting = built("shop-all").await;
    let history = shopped(&setting, 3).await;
    let mut conn = Connection::connect(&setting.admin).await.unwrap();
    let verdict = history.check(&mut conn).await.unwrap();
    assert!(verdict.holds(), "{verdict:#?}");
    assert!(verdict.orders_acknowledged > 0 && verdict.carts_checked > 0);
    assert_eq!(history.counts.failed_statements, 0, "{:?}", history.recording.failures);
    assert_eq!((history.unknown.len(), history.counts.wrong_answers), (0, 0));

    // Twice in the same shop: a second run neither disturbs nor is disturbed by what the first one left.
    let again = shopped(&setting, 1).await;
    let verdict = again.check(&mut conn).await.unwrap();
    assert!(verdict.holds() && again.counts.failed_statements == 0, "{verdict:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_order_is_noticed() {
    let setting = built("shop-removed").await;
    let history = shopped(&setting, 1).await;
    let mut conn = Connection::connect(&setting.admin).await.unwrap();
    let token = history.orders[history.orders.len() / 2].token.hex();
    conn.query_all(format!(
        "USE shop; SET foreign_key_checks = 0; DELETE FROM orders WHERE token = x'{token}'; SET foreign_key_checks = 1"
    ))
    .await
    .unwrap();
    let verdict = history.check(&mut conn).await.unwrap();
    assert_eq!((verdict.missing, verdict.duplicated, verdict.unexpected), (1, 0, 0));
    assert!(!verdict.holds());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_zone_shift_is_noticed() {
    let setting = built("shop-shifted").await;
    let history = shopped(&setting, 1).await;
    let mut conn = Connection::connect(&setting.admin).await.unwrap();
    let token = history.orders[0].token.hex();
    conn.execute("USE shop").await.unwrap();
    conn.execute(format!(
        "UPDATE orders SET created_at = created_at + INTERVAL 7 HOUR WHERE token = x'{token}'"
    ))
    .await
    .unwrap();
    let verdict = history.check(&mut conn).await.unwrap();
    assert_eq!((verdict.time_shifted, verdict.missing, verdict.altered), (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_is_never_built_over_another() {
    let setting = built("shop-twice").await;
    let error = Shop::create(&setting.admin, SCALE, 7).await.unwrap_err();
    assert!(matches!(error, load::Error::SchemaExists { .. }), "{error}");
}
