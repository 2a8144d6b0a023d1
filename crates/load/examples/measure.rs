//! temp
#![allow(clippy::unwrap_used, clippy::print_stdout)]
use load::*;
use mysql::*;
use std::time::{Duration, Instant};
#[tokio::main]
async fn main() {
    let mut o = ConnectOptions::new("127.0.0.1", 23306, "shop", Password::new("pw"));
    o.schema = Some(b"shop_m".to_vec());
    let mut admin = Connection::connect(&ConnectOptions { schema: None, ..o.clone() }).await.unwrap();
    if std::env::args().nth(1).as_deref() != Some("keep") {
        admin.execute("DROP DATABASE IF EXISTS shop_m").await.unwrap();
        let t = Instant::now();
        println!("{:?}", Shop::create(&o, Scale::default(), 1).await);
        println!("loaded in {:?}", t.elapsed());
    }
    let mut options = ShopperOptions::new(o.clone());
    options.think = Duration::ZERO..Duration::ZERO;
    let s = Shoppers::start(options).await.unwrap();
    for i in 0..8 {
        if std::env::args().nth(2).is_some() && i == 4 {
            let t = Instant::now();
            for row in admin.rows("SELECT id FROM information_schema.processlist WHERE user = 'shop' AND id <> connection_id()").await.unwrap() {
                let _ = admin.execute(format!("KILL {}", row.text(0))).await;
            }
            s.timeline().add_mark("cutover", t, Some(Instant::now()));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!("{:?}", s.live());
    }
    let t = Instant::now();
    let h = s.stop().await.unwrap();
    println!("stopped in {:?} {:?} carts {}", t.elapsed(), h.counts, h.carts.len());
    println!("{:?} {:?}", h.recording.kinds, h.recording.failures);
    let t = Instant::now();
    let v = h.check(&mut admin).await.unwrap();
    println!("{:#?} in {:?}", v, t.elapsed());
    let mut d = ReportData::of("measure", &h, &v);
    if let Some(m) = h.recording.marks.first() {
        d.cutovers.push(CutoverRecord::measured(
            "cutover",
            m.begin_ms,
            m.end_ms.unwrap(),
            vec![],
            &h.recording,
        ));
    }
    write_html(std::path::Path::new("/tmp/real.html"), &d).unwrap();
}
