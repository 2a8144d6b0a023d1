//! The words the catalogue is made of: accents, several scripts and emoji, because copies go wrong there first.

/// Artists' first and second names, paired freely.
pub const FIRST: &[&str] = &[
    "Zoë",
    "Søren",
    "Łukasz",
    "Íñigo",
    "Renée",
    "Ngọc",
    "さくら",
    "민준",
    "小龙",
    "Ольга",
    "Γιώργος",
    "عمر",
    "Amélie",
    "Björk",
    "Çağla",
    "Siân",
    "Ada",
    "Grace",
    "Frida",
    "Maud",
    "🎨 Bloom",
    "Straße",
];
/// See [`FIRST`].
pub const LAST: &[&str] = &[
    "Brontë",
    "Ågård",
    "Żółkiewski",
    "Ñandú",
    "Lefèvre",
    "Ánh",
    "田中",
    "김",
    "李",
    "Цветаева",
    "Παπαδόπουλος",
    "خالد",
    "O'Keeffe",
    "Guðmundsdóttir",
    "Şahin",
    "Lewis",
    "Kahlo",
    "& Sons ✂️",
    "Müller",
    "Test\\Slash",
    "👩‍🎨",
    "Ωmega",
];
/// What is sold.
pub const THINGS: &[&str] = &[
    "Wedding invitation",
    "Holiday card",
    "Art print",
    "Baby announcement",
    "Journal",
    "Gift wrap",
    "Place card",
    "Photo book",
    "Save the date",
    "Wall calendar",
    "Thank-you note",
    "Table runner",
];
/// What it looks like.
pub const LOOKS: &[&str] = &[
    "Letterpress",
    "Foil-pressed",
    "Botanical",
    "Midnight",
    "Coastal",
    "Minimal",
    "Art déco",
    "Watercolour",
    "Evergreen ❄",
    "Gilded",
    "Terrazzo",
    "Señorita",
];
/// Colours a variant comes in.
pub const COLOURS: &[&str] = &["ivory", "blush", "sage", "navy", "or rosé", "黒", "kraft", "plum"];
/// Cities customers live in.
pub const CITIES: &[&str] =
    &["San Francisco", "Zürich", "São Paulo", "東京", "Kraków", "Reykjavík", "Montréal", "Athens", "Ōsaka"];
/// Labels of an older system, all of them in Latin-1.
pub const LABELS: &[&str] =
    &["Fêtes", "Hochzeit & Gäste", "Niños", "£ Sale", "Noël", "Übergröße", "Plain", "¡Nuevo!"];
/// Countries of the artists; `None` where it was never asked.
pub const COUNTRIES: &[Option<&str>] =
    &[Some("US"), Some("DE"), Some("JP"), None, Some("BR"), Some("IS"), Some("")];
/// Browsers.
pub const AGENTS: &[&str] = &["Mozilla/5.0 (X11)", "Mozilla/5.0 (iPhone)", "curl/8.11", ""];
