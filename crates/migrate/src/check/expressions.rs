//! What both servers are asked in order to compare what they do: expressions over constants, as data.
//!
//! Invariant: every one is a SELECT of constants and session settings. It reads no table, writes nothing, takes well
//! below a millisecond, answers the same whenever it is asked, and is understood by every version that may be a source.

use super::expression::{Expression, ask, word};

const MODE: &[&str] = &["sql_mode"];
const ZONE: &[&str] = &["time_zone", "system_time_zone"];
const LITERAL: &[&str] = &["character_set_client", "character_set_connection", "collation_connection"];
const LOAD_ZONES: &str = "mysql_tzinfo_to_sql /usr/share/zoneinfo | mysql mysql  # on the target";
const CLASSIC_HASHING: &str = "INSTALL COMPONENT 'file://component_classic_hashing';  -- on the target";

/// Clocks, calendars and dates. What the session's zone decides is a warning here: `time-zone` refuses it.
pub(super) const TIME: &[Expression] = &[
    ask(
        "minutes-from-utc",
        "SELECT TIMESTAMPDIFF(MINUTE, UTC_TIMESTAMP(), NOW())",
        ZONE,
        "NOW() and CURDATE() tell another time",
    ),
    ask(
        "winter",
        "SELECT FROM_UNIXTIME(1768478400)",
        ZONE,
        "a TIMESTAMP in January 2026 is shown as another time",
    ),
    ask(
        "summer",
        "SELECT FROM_UNIXTIME(1784116800)",
        ZONE,
        "a TIMESTAMP in July 2026 is shown as another time",
    ),
    ask(
        "year-1990",
        "SELECT FROM_UNIXTIME(647784000)",
        ZONE,
        "a TIMESTAMP of long ago is shown as another time",
    ),
    ask(
        "skipped-hour",
        "SELECT CONCAT_WS(' ', UNIX_TIMESTAMP('2026-03-08 02:30:00'), UNIX_TIMESTAMP('2026-03-29 01:30:00'), \
         UNIX_TIMESTAMP('2026-03-29 02:30:00'))",
        ZONE,
        "a local time that a change to summer time leaves out is stored as another TIMESTAMP",
    ),
    ask(
        "repeated-hour",
        "SELECT CONCAT_WS(' ', UNIX_TIMESTAMP('2026-11-01 01:30:00'), UNIX_TIMESTAMP('2026-10-25 01:30:00'), \
         UNIX_TIMESTAMP('2026-10-25 02:30:00'))",
        ZONE,
        "a local time that exists twice when summer time ends is stored as another TIMESTAMP",
    ),
    ask(
        "date-with-offset",
        "SELECT CAST('2026-01-02 03:04:05+02:00' AS DATETIME)",
        ZONE,
        "a date and time written with an offset becomes another local time",
    ),
    ask(
        "after-2038",
        "SELECT FROM_UNIXTIME(2147483648) IS NULL",
        &[],
        "times after 2038-01-19 are known to one side only",
    ),
    ask(
        "zone-by-name",
        "SELECT CONVERT_TZ('2026-07-01 12:00:00', 'Europe/Berlin', 'UTC')",
        &[],
        "CONVERT_TZ() with a zone's name answers NULL where the zone tables are empty",
    )
    .or_else(LOAD_ZONES),
    ask(
        "zone-rules",
        "SELECT CONVERT_TZ('2023-01-15 12:00:00', 'UTC', 'America/Chihuahua')",
        &[],
        "the zone tables are of different age: this zone's hours changed in October 2022",
    )
    .or_else(LOAD_ZONES),
    ask(
        "skipped-hour-by-name",
        "SELECT CONVERT_TZ('2026-03-08 02:30:00', 'America/New_York', 'UTC')",
        &[],
        "CONVERT_TZ() of a local time that a change to summer time leaves out answers otherwise",
    )
    .or_else(LOAD_ZONES),
    ask(
        "names-of-days",
        "SELECT DATE_FORMAT('2026-03-01', '%W %M')",
        &["lc_time_names"],
        "days and months have names in another language",
    ),
    ask(
        "number-of-week",
        "SELECT WEEK('2023-01-01')",
        &["default_week_format"],
        "WEEK() counts weeks otherwise: reports group by other weeks",
    ),
    ask(
        "fraction-of-a-second",
        "SELECT CAST('2026-01-02 03:04:05.6' AS DATETIME)",
        MODE,
        "fractions of a second are rounded on one side and cut on the other (TIME_TRUNCATE_FRACTIONAL)",
    ),
    ask(
        "invalid-date",
        "SELECT CAST('2026-02-31' AS DATE)",
        MODE,
        "days that do not exist are dates on one side and NULL or an error on the other (ALLOW_INVALID_DATES)",
    ),
    ask(
        "zero-in-date",
        "SELECT CAST('2026-02-00' AS DATE)",
        MODE,
        "dates with a zero day or month are dates on one side and NULL or an error on the other (NO_ZERO_IN_DATE)",
    ),
    ask(
        "zero-date",
        "SELECT CAST('0000-00-00' AS DATE)",
        MODE,
        "'0000-00-00' is a date on one side and NULL or an error on the other (NO_ZERO_DATE)",
    ),
    ask(
        "loose-dates",
        "SELECT CONCAT_WS(' ', CAST('70-1-2' AS DATE), CAST('69-1-2' AS DATE), CAST(260102 AS DATE), \
         CAST('2026/01/02' AS DATE))",
        &[],
        "dates written with two digits for the year, or with other separators, are read otherwise",
    ),
    ask(
        "month-arithmetic",
        "SELECT CONCAT_WS(' ', DATE '2026-01-31' + INTERVAL 1 MONTH, TIMESTAMPDIFF(MONTH, '2026-01-31', '2026-02-28'))",
        &[],
        "adding a month to the last of a month, or counting months, comes out otherwise",
    ),
];

/// Arithmetic, rounding, and how numbers are written.
pub(super) const NUMBERS: &[Expression] = &[
    ask(
        "division",
        "SELECT CONCAT_WS(' ', 1 / 3, 2.50 / 7)",
        &["div_precision_increment"],
        "quotients have another number of decimals, and sums of them another value",
    ),
    ask(
        "average",
        "SELECT AVG(n) FROM (SELECT 1 AS n UNION ALL SELECT 1 UNION ALL SELECT 2) AS t",
        &["div_precision_increment"],
        "averages have another number of decimals",
    ),
    ask(
        "division-by-zero",
        "SELECT 1 / 0; SELECT IF(@@warning_count = 0, 'silent', 'warned of')",
        MODE,
        "storing a division by zero is an error on one side and NULL on the other (ERROR_FOR_DIVISION_BY_ZERO, which \
         acts in strict mode)",
    ),
    ask(
        "unsigned-subtraction",
        "SELECT CAST(0 AS UNSIGNED) - 1",
        MODE,
        "what goes below zero in an UNSIGNED column's arithmetic is an error on one side and negative on the other \
         (NO_UNSIGNED_SUBTRACTION)",
    ),
    ask(
        "real-type",
        "SELECT CAST(0.1 AS REAL) + 0e0",
        MODE,
        "REAL is FLOAT on one side and DOUBLE on the other, in casts and in CREATE TABLE (REAL_AS_FLOAT)",
    ),
    ask(
        "decimal-rounding",
        "SELECT CONCAT_WS(' ', ROUND(2.5), ROUND(-2.5), ROUND(1.005, 2), CAST(2.345 AS DECIMAL(5,2)), TRUNCATE(1.999, 2))",
        &[],
        "DECIMAL values are rounded otherwise: amounts of money differ",
    )
    .refusing(),
    ask(
        "double-rounding",
        "SELECT CONCAT_WS(' ', ROUND(2.5e0), ROUND(3.5e0), ROUND(1.005e0, 2), CAST(2.345e0 AS DECIMAL(5,2)), FORMAT(2.5e0, 0))",
        &[],
        "DOUBLE values are rounded otherwise",
    ),
    ask(
        "double-text",
        "SELECT CONCAT_WS(' ', 0.1e0 + 0.2e0, 1e15 / 3, 1e-5, 1e16, 1e308, 5e-324, -0e0)",
        &[],
        "DOUBLE values are written with other digits",
    ),
    ask(
        "float-text",
        "SELECT CONCAT_WS(' ', CAST(0.1 AS FLOAT), CAST(16777217 AS FLOAT), CAST(1e10 AS FLOAT), CAST(0.333333333 AS FLOAT))",
        &[],
        "FLOAT values are written with other digits",
    ),
    ask(
        "functions-of-doubles",
        "SELECT CONCAT_WS(' ', EXP(1), LOG(10), SIN(1e22), TAN(1.5), ATAN2(1, 3), POW(2, 0.5), POW(10, -3))",
        &[],
        "mathematical functions differ in their last digits: another processor or library computes them",
    ),
    ask(
        "casts-to-integer",
        "SELECT CONCAT_WS(' ', CAST(-1 AS UNSIGNED), CAST(3.7 AS SIGNED), CAST('12abc' AS SIGNED), CAST(1e30 AS SIGNED), \
         CAST(-1e0 AS UNSIGNED))",
        &[],
        "numbers out of range and texts with letters become other integers",
    ),
    ask(
        "integer-division",
        "SELECT CONCAT_WS(' ', 5 DIV 2, -5 DIV 2, -5 % 3, 5.5 % 2, 1 << 64, ~0)",
        &[],
        "integer division, remainders or bits come out otherwise",
    ),
    ask(
        "text-as-number",
        "SELECT CONCAT_WS(' ', 'abc' = 0, '1abc' = 1, '1.0' = 1, '' = 0)",
        &[],
        "comparing a text with a number comes out otherwise: WHERE finds other rows",
    ),
];

/// Character sets, collations, patterns.
pub(super) const TEXT: &[Expression] = &[
    ask(
        "literals",
        "SELECT CONCAT_WS(' ', CHARSET('a'), COLLATION('a'))",
        LITERAL,
        "a text in a statement has another character set or collation, in comparisons of texts and in CREATE TABLE ... SELECT",
    ),
    ask(
        "utf8mb4-default",
        "SELECT CONCAT_WS(' ', COLLATION(_utf8mb4'a'), COLLATION(CONVERT('a' USING utf8mb4)))",
        &["default_collation_for_utf8mb4"],
        "where a statement names utf8mb4 and no collation, also in CREATE TABLE, another one is meant",
    ),
    ask(
        "new-databases",
        "SELECT CONCAT_WS(' ', @@character_set_server, @@collation_server)",
        &["character_set_server", "collation_server"],
        "databases created without a character set, and tables in them, get another one",
    ),
    ask(
        "utf8-alias",
        "SELECT COLLATION(CONVERT('a' USING utf8))",
        &[],
        "`utf8` means, or is called, another character set: clients that look it up by name may not know it",
    ),
    ask(
        "text-equality",
        "SELECT CONCAT_WS(' ', 'a' = 'A', 'a' = 'á', 'ss' = 'ß', '🍣' = '🍺')",
        LITERAL,
        "which texts are equal (case, accents, letters of two letters, emoji) is another question, except where columns decide",
    ),
    ask(
        "trailing-space",
        "SELECT 'a' = 'a '",
        LITERAL,
        "a space at the end of a text counts on one side only",
    ),
    ask(
        "text-order",
        "SELECT GROUP_CONCAT(c ORDER BY c, HEX(c) SEPARATOR '') FROM (SELECT 'a' AS c UNION ALL SELECT 'B' UNION ALL SELECT 'ä' \
         UNION ALL SELECT 'z' UNION ALL SELECT 'Z' UNION ALL SELECT '_' UNION ALL SELECT '1' UNION ALL SELECT 'ø') AS t",
        LITERAL,
        "texts that are computed are sorted in another order",
    ),
    ask(
        "weights-0900",
        "SELECT HEX(WEIGHT_STRING(_utf8mb4'éß🍣Ωﬁ' COLLATE utf8mb4_0900_ai_ci))",
        &[],
        "utf8mb4_0900_ai_ci itself sorts otherwise: a unique key may hold texts the other server calls equal",
    )
    .refusing(),
    ask(
        "weights-general",
        "SELECT HEX(WEIGHT_STRING(_utf8mb4'éß🍣Ω' COLLATE utf8mb4_general_ci))",
        &[],
        "utf8mb4_general_ci itself sorts otherwise: a unique key may hold texts the other server calls equal",
    )
    .refusing(),
    ask(
        "weights-unicode-520",
        "SELECT HEX(WEIGHT_STRING(_utf8mb4'éß🍣Ω' COLLATE utf8mb4_unicode_520_ci))",
        &[],
        "utf8mb4_unicode_520_ci itself sorts otherwise: a unique key may hold texts the other server calls equal",
    )
    .refusing(),
    ask(
        "upper-and-lower",
        "SELECT CONCAT_WS(' ', UPPER('ßäœ'), LOWER('İÄΣ'))",
        LITERAL,
        "UPPER() and LOWER() change other letters",
    ),
    ask(
        "length-of-text",
        "SELECT CONCAT_WS(' ', CHAR_LENGTH('🍣é'), LENGTH('🍣é'), HEX('é'))",
        LITERAL,
        "what a client sends is understood in another character set: letters beyond ASCII are stored as others",
    )
    .refusing(),
    ask(
        "patterns",
        "SELECT CONCAT_WS(' ', 'Abc' REGEXP 'abc', 'é' REGEXP '^.$', 'é' REGEXP '[[:alpha:]]', \
         REGEXP_REPLACE('a1b22', '[0-9]+', '#'), 'Abc' LIKE 'a%')",
        LITERAL,
        "REGEXP and LIKE match other texts",
    ),
    ask(
        "patient-patterns",
        "SELECT REGEXP_LIKE(REPEAT('a', 15), '(a+)+b')",
        &["regexp_time_limit", "regexp_stack_limit"],
        "a pattern that takes long is given up on one side and answered on the other",
    ),
    ask(
        "group-concat",
        "SELECT LENGTH(GROUP_CONCAT(REPEAT('a', 100000)))",
        &["group_concat_max_len"],
        "GROUP_CONCAT() cuts its result at another length, with a warning only",
    ),
];

/// How JSON is read, compared and written.
pub(super) const JSON: &[Expression] = &[
    ask(
        "json-text",
        "SELECT JSON_OBJECT('b', 1.0, 'a', 1e20, 'c', CAST(0.1 AS FLOAT), 'd', DATE '2026-01-02', 'aa', NULL, 'e', \
         TIMESTAMP '2026-01-02 03:04:05.5')",
        &[],
        "documents are written with other digits, spaces, or order of keys",
    ),
    ask(
        "json-parsing",
        r#"SELECT CAST('{"b": 1.0, "a": 1e2, "a": 18446744073709551616, "c": [1, true, "/"]}' AS JSON)"#,
        &[],
        "documents are read otherwise: keys given twice, large numbers",
    ),
    ask(
        "json-value",
        r#"SELECT CONCAT_WS(' ', JSON_VALUE('{"a": 1.50}', '$.a'), JSON_UNQUOTE(JSON_EXTRACT('{"a": "x"}', '$.a')))"#,
        &[],
        "values taken out of documents are written otherwise",
    ),
    ask(
        "json-comparison",
        r#"SELECT CONCAT_WS(' ', JSON_EXTRACT('{"a": 1}', '$.a') = '1', JSON_EXTRACT('{"a": "X"}', '$.a') = 'x', CAST('1' AS JSON) = CAST('1.0' AS JSON))"#,
        &[],
        "comparing a value in a document comes out otherwise: WHERE finds other rows",
    ),
    ask(
        "json-merging",
        r#"SELECT CONCAT_WS(' ', JSON_MERGE_PATCH('{"a": 1}', '{"a": null}'), JSON_MERGE_PRESERVE('[1]', '{"a": 2}'))"#,
        &[],
        "documents are merged otherwise",
    ),
];

/// What statements mean, and which are refused.
pub(super) const MODES: &[Expression] = &[
    ask(
        "too-long-text",
        "WITH RECURSIVE c AS (SELECT 1 AS n, 'a' AS s UNION ALL SELECT n + 1, 'abc' FROM c WHERE n < 2) \
         SELECT GROUP_CONCAT(s ORDER BY n) FROM c",
        MODE,
        "a value that does not fit is an error on one side, and cut to fit on the other (STRICT_TRANS_TABLES)",
    )
    .refusing(),
    ask(
        "group-by",
        "SELECT a FROM (SELECT 1 AS a, 2 AS b UNION ALL SELECT 1, 2) AS t GROUP BY b",
        MODE,
        "a column that is neither grouped by nor aggregated is an error on one side, and any of its values on the other \
         (ONLY_FULL_GROUP_BY)",
    ),
    ask(
        "double-quotes",
        r#"SELECT "a""#,
        MODE,
        "double quotes stand around a text on one side, and around a column's name on the other (ANSI_QUOTES)",
    )
    .refusing(),
    ask(
        "two-bars",
        "SELECT 'a' || 'b'",
        MODE,
        "|| means OR on one side, and joins texts on the other (PIPES_AS_CONCAT)",
    )
    .refusing(),
    ask(
        "backslash",
        r"SELECT LENGTH('a\\b')",
        MODE,
        "a backslash escapes on one side, and is a letter like any other on the other (NO_BACKSLASH_ESCAPES): texts are \
         stored otherwise, and escaping that was safe is not",
    )
    .refusing(),
    ask(
        "not-between",
        "SELECT NOT 1 BETWEEN -5 AND 5",
        MODE,
        "NOT binds before BETWEEN, LIKE and IN on one side only (HIGH_NOT_PRECEDENCE)",
    )
    .refusing(),
    ask(
        "space-before-parenthesis",
        "SELECT COUNT (1)",
        MODE,
        "a space between a function's name and its parenthesis is allowed on one side only (IGNORE_SPACE)",
    ),
    ask(
        "rows-of-a-select",
        "SELECT @@SESSION.sql_select_limit",
        &["sql_select_limit"],
        "a SELECT without LIMIT ends after another number of rows",
    )
    .refusing(),
    ask(
        "seconds-of-a-select",
        "SELECT @@SESSION.max_execution_time",
        &["max_execution_time"],
        "a SELECT is ended after another time (in milliseconds, 0 for never)",
    ),
    ask(
        "careless-writes",
        "SELECT @@SESSION.sql_safe_updates",
        &["sql_safe_updates"],
        "UPDATE and DELETE without a key in WHERE are refused on one side only",
    ),
    ask(
        "last-id-as-null",
        "SELECT @@SESSION.sql_auto_is_null",
        &["sql_auto_is_null"],
        "WHERE id IS NULL finds the row inserted last on one side only",
    ),
];

/// Functions that are missing or compute otherwise, and names that became reserved.
pub(super) const FUNCTIONS: &[Expression] = &[
    ask("md5", "SELECT MD5('a')", &[], "MD5() is missing, or computes otherwise").or_else(CLASSIC_HASHING),
    ask("sha1", "SELECT SHA1('a')", &[], "SHA1() and SHA() are missing, or compute otherwise")
        .or_else(CLASSIC_HASHING),
    ask("sha2", "SELECT SHA2('a', 256)", &[], "SHA2() is missing, or computes otherwise"),
    ask("crc32", "SELECT CRC32('a')", &[], "CRC32() is missing, or computes otherwise"),
    ask(
        "encryption",
        "SELECT HEX(AES_ENCRYPT('a', 'k'))",
        &["block_encryption_mode"],
        "AES_ENCRYPT() and AES_DECRYPT() use another mode: what was encrypted on the source cannot be decrypted",
    )
    .refusing(),
    ask("compression", "SELECT UNCOMPRESS(COMPRESS('a'))", &[], "COMPRESS() is missing, or computes otherwise"),
    ask(
        "rows-found",
        "SELECT SQL_CALC_FOUND_ROWS 1; SELECT FOUND_ROWS()",
        &[],
        "SQL_CALC_FOUND_ROWS and FOUND_ROWS() are missing, or count otherwise",
    ),
    ask("binary-operator", "SELECT BINARY 'a' = 'A'", &[], "the operator BINARY is missing, or compares otherwise"),
    ask(
        "places-on-earth",
        "SELECT CONCAT_WS(' ', ST_AsText(ST_GeomFromText('POINT(1 2)', 4326)), ST_Latitude(ST_GeomFromText('POINT(1 2)', 4326)))",
        &[],
        "latitude and longitude come in another order",
    )
    .refusing(),
    ask(
        "uuid",
        "SELECT HEX(UUID_TO_BIN('3e11fa47-71ca-11e1-9e33-c80aa9429562', 1))",
        &[],
        "UUIDs are stored with their bytes in another order",
    )
    .refusing(),
    word("word-intersect", "SELECT 1 AS intersect", "-- write `intersect` in backticks wherever it is a name"),
    word("word-qualify", "SELECT 1 AS qualify", "-- write `qualify` in backticks wherever it is a name"),
    word("word-tablesample", "SELECT 1 AS tablesample", "-- write `tablesample` in backticks wherever it is a name"),
    word("word-library", "SELECT 1 AS library", "-- write `library` in backticks wherever it is a name"),
    word("word-external", "SELECT 1 AS external", "-- write `external` in backticks wherever it is a name"),
];

/// All of them, in groups that are sent together.
pub(super) const GROUPS: &[&[Expression]] = &[TIME, NUMBERS, TEXT, JSON, MODES, FUNCTIONS];

/// Every expression there is.
pub(super) fn all() -> impl Iterator<Item = &'static Expression> {
    GROUPS.iter().copied().flatten()
}
