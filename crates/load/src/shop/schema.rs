//! The shop's tables: every kind of column a shop of some age has, and nothing that cannot be moved exactly.

/// The schema of a shop whose shoppers name none.
pub const DEFAULT: &str = "shop";

/// `CREATE TABLE` statements in the order the foreign keys need.
pub const TABLES: &[&str] = &[
    "CREATE TABLE categories (
        id SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
        parent_id SMALLINT UNSIGNED NULL,
        name VARCHAR(80) NOT NULL,
        legacy_label VARCHAR(60) CHARACTER SET latin1 COLLATE latin1_swedish_ci NOT NULL,
        CONSTRAINT category_parent FOREIGN KEY (parent_id) REFERENCES categories (id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE artists (
        id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        name VARCHAR(120) NOT NULL,
        country CHAR(2) CHARACTER SET ascii NULL,
        bio TEXT NULL,
        rating FLOAT NULL,
        latitude DOUBLE NULL,
        longitude DOUBLE NULL,
        KEY artist_name (name)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE products (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        artist_id INT UNSIGNED NOT NULL,
        category_id SMALLINT UNSIGNED NOT NULL,
        slug VARCHAR(140) CHARACTER SET ascii NOT NULL,
        name VARCHAR(160) NOT NULL,
        base_price DECIMAL(10,2) NOT NULL,
        tags SET('new','sale','limited','gift','framed','holiday') NOT NULL DEFAULT '',
        weight_grams FLOAT NULL,
        score DOUBLE NOT NULL DEFAULT 0,
        published_on DATE NULL,
        created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        UNIQUE KEY product_slug (slug),
        KEY product_category (category_id, id),
        CONSTRAINT product_artist FOREIGN KEY (artist_id) REFERENCES artists (id),
        CONSTRAINT product_category FOREIGN KEY (category_id) REFERENCES categories (id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE product_categories (
        category_id SMALLINT UNSIGNED NOT NULL,
        product_id BIGINT UNSIGNED NOT NULL,
        position INT NOT NULL,
        PRIMARY KEY (category_id, product_id),
        CONSTRAINT listed_category FOREIGN KEY (category_id) REFERENCES categories (id),
        CONSTRAINT listed_product FOREIGN KEY (product_id) REFERENCES products (id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE variants (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        product_id BIGINT UNSIGNED NOT NULL,
        sku VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
        price DECIMAL(10,2) NOT NULL,
        attributes JSON NOT NULL,
        barcode VARBINARY(16) NULL,
        price_cents BIGINT GENERATED ALWAYS AS (price * 100) STORED,
        colour VARCHAR(20) GENERATED ALWAYS AS (attributes->>'$.colour') VIRTUAL,
        UNIQUE KEY variant_sku (sku),
        KEY variant_product (product_id, id),
        CONSTRAINT variant_product FOREIGN KEY (product_id) REFERENCES products (id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE customers (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        email VARCHAR(190) NOT NULL,
        name VARCHAR(120) NOT NULL,
        password_hash VARBINARY(64) NOT NULL,
        phone VARCHAR(24) NULL,
        born_on DATE NULL,
        last_visit_on DATE NOT NULL,
        credit DECIMAL(8,2) NOT NULL DEFAULT 0.00,
        created_at TIMESTAMP NOT NULL,
        UNIQUE KEY customer_email (email)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE addresses (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        customer_id BIGINT UNSIGNED NOT NULL,
        street VARCHAR(120) NOT NULL,
        unit VARCHAR(20) NULL,
        city VARCHAR(80) NOT NULL,
        postcode VARCHAR(12) NOT NULL,
        CONSTRAINT address_customer FOREIGN KEY (customer_id) REFERENCES customers (id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE sessions (
        id BINARY(16) NOT NULL PRIMARY KEY,
        customer_id BIGINT UNSIGNED NULL,
        agent VARBINARY(80) NOT NULL,
        views INT NOT NULL DEFAULT 0,
        seen_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE carts (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        customer_id BIGINT UNSIGNED NULL,
        status ENUM('open','ordered','abandoned') NOT NULL DEFAULT 'open',
        updated_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6),
        CONSTRAINT cart_customer FOREIGN KEY (customer_id) REFERENCES customers (id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE cart_items (
        cart_id BIGINT UNSIGNED NOT NULL,
        variant_id BIGINT UNSIGNED NOT NULL,
        quantity SMALLINT UNSIGNED NOT NULL,
        added_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
        PRIMARY KEY (cart_id, variant_id),
        CONSTRAINT item_cart FOREIGN KEY (cart_id) REFERENCES carts (id),
        CONSTRAINT item_variant FOREIGN KEY (variant_id) REFERENCES variants (id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE orders (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        token BINARY(16) NOT NULL,
        customer_id BIGINT UNSIGNED NOT NULL,
        address_id BIGINT UNSIGNED NULL,
        status ENUM('placed','paid','packed','shipped','returned') NOT NULL DEFAULT 'placed',
        total DECIMAL(12,2) NOT NULL,
        note VARCHAR(200) NULL,
        created_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        placed_local DATETIME NOT NULL,
        UNIQUE KEY order_token (token),
        KEY order_customer (customer_id, created_at),
        CONSTRAINT order_customer FOREIGN KEY (customer_id) REFERENCES customers (id),
        CONSTRAINT order_address FOREIGN KEY (address_id) REFERENCES addresses (id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE order_lines (
        order_id BIGINT UNSIGNED NOT NULL,
        line_no TINYINT UNSIGNED NOT NULL,
        variant_id BIGINT UNSIGNED NOT NULL,
        quantity INT NOT NULL,
        unit_price DECIMAL(10,2) NOT NULL,
        amount DECIMAL(12,2) GENERATED ALWAYS AS (quantity * unit_price) STORED,
        PRIMARY KEY (order_id, line_no),
        CONSTRAINT line_order FOREIGN KEY (order_id) REFERENCES orders (id),
        CONSTRAINT line_variant FOREIGN KEY (variant_id) REFERENCES variants (id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE payments (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        order_id BIGINT UNSIGNED NOT NULL,
        method ENUM('card','wallet','invoice') NOT NULL,
        amount DECIMAL(12,2) NOT NULL,
        reference VARBINARY(24) NULL,
        paid_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        UNIQUE KEY payment_order (order_id),
        CONSTRAINT payment_order FOREIGN KEY (order_id) REFERENCES orders (id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE stock (
        variant_id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
        quantity INT NOT NULL,
        updated_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
        CONSTRAINT stock_variant FOREIGN KEY (variant_id) REFERENCES variants (id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
    "CREATE TABLE stock_ledger (
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        variant_id BIGINT UNSIGNED NOT NULL,
        order_id BIGINT UNSIGNED NULL,
        reason ENUM('received','sold','returned') NOT NULL,
        delta INT NOT NULL,
        booked_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
        KEY ledger_variant (variant_id),
        CONSTRAINT ledger_variant FOREIGN KEY (variant_id) REFERENCES variants (id),
        CONSTRAINT ledger_order FOREIGN KEY (order_id) REFERENCES orders (id)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
];
