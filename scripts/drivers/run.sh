#!/usr/bin/env bash
# Runs one driver's suite against one port of 127.0.0.1: run.sh SUITE PORT OUT [ARGUMENTS...]. What became of each test is written to OUT,
# as scripts/drivers/record.py says; what the suite itself says goes to stdout and stderr.
#
# The environment names the rest: DRIVERS, the folder that scripts/drivers.sh printed; DB_USER and DB_PASSWORD, an account that
# may do anything; WORK, a folder of its own; CA, the certificate of the CA that signed the server's.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
suite=$1 port=$2 out=$3
shift 3
python=$(cat "$DRIVERS/interpreter")
libraries=$(echo "$DRIVERS"/libmariadb/usr/lib/*-linux-gnu)
export LD_LIBRARY_PATH=$libraries MARIADB_PLUGIN_DIR=$libraries/libmariadb3/plugin
export PYTHONPATH=$DRIVERS/python PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=1
mkdir -p "$WORK"
cd "$WORK"

# A suite's sources, copied so that it may write beside them.
sources() {
  rm -rf "${WORK:?}/$1"
  local found
  found=$(find "$DRIVERS/src" -maxdepth 1 -iname "$1-[0-9]*")
  cp -r "$found" "$WORK/$1"
  SUITE_VERSION=${found##*/}
  export SUITE_VERSION
  cd "$WORK/$1"
}

case $suite in
mysql2)
  exec node "$here/mysql2.js" "$DRIVERS/node/node_modules/mysql2" "$port" "$out"
  ;;
pymysql)
  sources PyMySQL
  cat >pymysql/tests/databases.json <<JSON
[{"host": "127.0.0.1", "port": $port, "user": "$DB_USER", "passwd": "$DB_PASSWORD", "db": "test1", "use_unicode": true,
  "local_infile": true},
 {"host": "127.0.0.1", "port": $port, "user": "$DB_USER", "passwd": "$DB_PASSWORD", "db": "test2"}]
JSON
  export PYTHONPATH=$PWD:$PYTHONPATH
  exec "$python" "$here/record.py" "$out" pytest pymysql/tests
  ;;
mysqlclient)
  sources mysqlclient
  cat >tests/default.cnf <<CNF
[MySQLdb-tests]
host = 127.0.0.1
port = $port
user = $DB_USER
password = $DB_PASSWORD
database = test1
default-character-set = utf8mb4
CNF
  cd tests
  exec "$python" "$here/record.py" "$out" pytest .
  ;;
connector-python)
  sources mysql_connector_python
  # A socket would lead around the door; its C extension takes an empty one for a socket, too.
  sed -i 's/"unix_socket": options.unix_socket_folder/"unix_socket": None/' unittests.py
  # Its C extension needs the OpenSSL it brings, before Python's own ssl loads the system's.
  export LD_LIBRARY_PATH=$DRIVERS/python/mysql/vendor
  exec "$python" "$here/record.py" "$out" unittests.py --use-external-server --skip-install --host=127.0.0.1 \
    "--port=$port" "--user=$DB_USER" "--password=$DB_PASSWORD" --verbosity=1 "$@"
  ;;
aiomysql)
  sources aiomysql
  # It verifies the server's certificate, by a CA of its own that has none for this server.
  cp "$CA" tests/ssl_resources/ssl/ca.pem
  # Its SQLAlchemy tests are for 1.4, and each of the others would be run for a second event loop, too.
  export MYSQL_ROOT_PASSWORD=$DB_PASSWORD
  exec "$python" "$here/record.py" "$out" pytest tests --ignore=tests/sa --ignore=tests/test_async_with.py -k "not uvloop and not sa_result" \
    "--mysql-address=server=127.0.0.1:$port"
  ;;
sqlalchemy-mysqldb | sqlalchemy-pymysql)
  sources SQLAlchemy
  SUITE_VERSION="$SUITE_VERSION, ${suite#*-}"
  export PYTHONPATH=$PWD/lib:$here:$PYTHONPATH
  # With one driver the pool gives up old connections. What tests keep in temporary tables is then gone if they take longer, on
  # either way; with the other driver these tests are run.
  case $suite in
  *-mysqldb) extra=(-p recycle -k "not temp_table") ;;
  *) extra=() ;;
  esac
  exec "$python" "$here/record.py" "$out" pytest -p no:logging "${extra[@]}" test/dialect/test_suite.py test/dialect/mysql \
    --dburi "mysql+${suite#*-}://$DB_USER:$DB_PASSWORD@127.0.0.1:$port/test?charset=utf8mb4"
  ;;
django)
  sources django
  cat >highwater_settings.py <<PY
DATABASES = {name: {"ENGINE": "django.db.backends.mysql", "HOST": "127.0.0.1", "PORT": "$port", "USER": "$DB_USER",
    "PASSWORD": "$DB_PASSWORD", "NAME": name, "TEST": {"CHARSET": "utf8mb4"}} for name in ("default", "other")}
SECRET_KEY = "tests"
USE_TZ = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
PY
  export PYTHONPATH=$PWD:$PYTHONPATH
  cd tests
  exec "$python" "$here/record.py" "$out" runtests.py --settings=highwater_settings --parallel=1 --noinput "$@"
  ;;
*)
  printf 'error: there is no suite %s\nstate: nothing was run\nhint:  read scripts/drivers/run.sh\n' "$suite" >&2
  exit 2
  ;;
esac
