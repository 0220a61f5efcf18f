# Shared by the set-up scripts: how a missing Debian package is had.

# may_install says whether this machine lets us install packages without asking anyone.
may_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }

# install_packages NAME...: by apt, refreshing the lists once when the first try finds nothing.
install_packages() {
    echo "setup: installing $* with apt-get" >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null 2>&1 && return
    DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2
}

# without_services COMMAND...: runs it so that packages that it installs start no services of theirs.
without_services() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    "$@"
)

# need_compiler WHAT: a C compiler, which WHAT needs for SQLite.
need_compiler() {
    command -v "${CC:-gcc}" >/dev/null 2>&1 && return
    may_install || { echo "setup: $1 needs a C compiler, for SQLite; on Debian and Ubuntu: sudo apt-get install gcc libc6-dev" >&2; exit 1; }
    install_packages gcc libc6-dev
}

# fetch_wheels DIR REQUIREMENTS WHAT: makes DIR a Python virtual environment with the wheels that REQUIREMENTS pins, called WHAT;
# does nothing when it is one.
fetch_wheels() {
    cmp -s "$2" "$1/requirements.txt" && return
    python=$(command -v python3) || { echo "setup: python3 is missing: install Python 3.9 or newer" >&2; exit 1; }
    echo "setup: fetching $3 ..." >&2
    make_venv "$1" || {
        may_install || {
            echo "setup: 'python3 -m venv' does not work here; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2
            exit 1
        }
        install_packages python3-venv
        make_venv "$1"
    }
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes -r "$2"
    cp "$2" "$1/requirements.txt"
}
make_venv() { rm -rf "$1" && "$python" -m venv "$1" >/dev/null 2>&1; }
