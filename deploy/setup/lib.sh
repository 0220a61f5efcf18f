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
