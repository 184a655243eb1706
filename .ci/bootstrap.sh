#!/usr/bin/env bash
# Gets a fresh machine ready: Debian packages when root, then .venv with exactly requirements.lock.
# Does nothing, in well under a second, when everything is there. Never starts or enables a service.
#
#   PYTHON=/path/to/python3   the interpreter for .venv (3.11 to 3.13 are tested)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=.venv
# Where apt-get or root is missing, these are only named.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { printf 'bootstrap: %s\n' "$*" >&2; }

# command:package, for what the lab, the node modules' tests, benchmarks and lint run.
programs=(
  nft:nftables keepalived:keepalived conntrack:conntrack conntrackd:conntrackd
  ip:iproute2 bridge:iproute2 sysctl:procps ps:procps nsenter:util-linux unshare:util-linux
  sshd:openssh-server ssh:openssh-client ssh-keygen:openssh-client
  iptables:iptables ipset:ipset ping:iputils-ping tcpdump:tcpdump
  debootstrap:debootstrap systemd-nspawn:systemd-container
  git:git shellcheck:shellcheck sudo:sudo
  /usr/lib/cni/ptp:containernetworking-plugins
)

missing_packages() {
  local entry
  for entry in "${programs[@]}"; do
    command -v "${entry%%:*}" >/dev/null || printf '%s\n' "${entry##*:}"
  done | sort -u
}

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_updated=
# Installs the named packages; those that are daemons end up neither running nor enabled.
install_packages() {
  local guard=/usr/sbin/policy-rc.d package output
  say "installing $*"
  # Debian's own switch: exit status 101 keeps maintainer scripts from starting services. A guard that is already there stays.
  if [ ! -e "$guard" ]; then
    # shellcheck disable=SC2064  # expand now: guard is local
    trap "rm -f '$guard'" EXIT
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod 755 "$guard"
  fi
  export DEBIAN_FRONTEND=noninteractive
  if [ -z "$apt_updated" ]; then
    apt-get -qq -o DPkg::Lock::Timeout=120 update </dev/null >&2 || say "apt-get update failed; trying the package lists that are here"
    apt_updated=1
  fi
  if ! output=$(apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@" </dev/null 2>&1); then
    printf '%s\n' "$output" >&2
    say "apt-get could not install them"
  fi
  for package in "$@"; do
    case $package in
      openssh-server) keep_off ssh ssh.socket ;;
      keepalived | conntrackd | nftables) keep_off "$package" ;;
      systemd-container) keep_off machines.target ;;
    esac
  done
  if [ -n "$(trap -p EXIT)" ]; then
    rm -f "$guard"
    trap - EXIT
  fi
}

# At the next boot, too, a service that came along as a tool stays off.
keep_off() {
  local service
  for service in "$@"; do
    if command -v systemctl >/dev/null; then
      systemctl disable "$service" >/dev/null 2>&1 || true
    elif command -v update-rc.d >/dev/null; then
      update-rc.d "$service" disable >/dev/null 2>&1 || true
    fi
  done
}

system_packages() {
  local packages
  mapfile -t packages < <(missing_packages)
  [ "${#packages[@]}" -gt 0 ] || return 0
  if can_install; then
    install_packages "${packages[@]}"
    mapfile -t packages < <(missing_packages)
    [ "${#packages[@]}" -eq 0 ] || say "still missing after apt-get: ${packages[*]}"
  else
    say "these programs' packages are not installed, and only root with apt-get installs them: ${packages[*]}"
    say "going on without; tests that need them are skipped and say so"
  fi
}

# First answer wins: the versions that the lock file is tested with, then anything newer.
find_python() {
  local candidate test
  for test in '(3, 11) <= sys.version_info[:2] <= (3, 13)' 'sys.version_info[:2] >= (3, 11)'; do
    # Run each: a version manager's shim may exist and refuse.
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
      if "$candidate" -c "import sys; sys.exit(not ($test))" 2>/dev/null; then
        command -v "$candidate"
        return
      fi
    done
  done
  return 1
}

virtual_environment() {
  local python version
  if ! python=$(find_python) && can_install; then
    install_packages python3 python3-venv || true
    python=$(find_python) || true
  fi
  if [ -z "$python" ]; then
    say "no Python >= 3.11 found. Install one (Debian 12: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3 ..."
    exit 1
  fi
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    # Debian and Ubuntu split these two modules off.
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if can_install; then
      install_packages "python$version-venv"
    else
      say "$python has no venv module. Install it: apt-get install python$version-venv"
      exit 1
    fi
  fi
  say "making .venv with $("$python" --version), about a minute"
  rm -rf "$venv"
  "$python" -m venv "$venv"
  printf '%s\n' "${PYTHON:-}" >"$venv/.python"
  # --no-compile: most modules, those of the kubernetes client above all, are never imported.
  "$venv/bin/python" -m pip --disable-pip-version-check --no-input -qq install --no-compile --require-hashes -r requirements.lock </dev/null
}

# The build backend is in the lock as well: nothing unpinned is fetched for the editable install.
our_package() {
  local problems
  "$venv/bin/python" -m pip --disable-pip-version-check --no-input -qq install --no-deps --no-build-isolation --editable . </dev/null
  if ! problems=$("$venv/bin/python" -m pip check); then
    printf '%s\n' "$problems" >&2
    say "requirements.lock does not satisfy pyproject.toml: run make lock"
    exit 1
  fi
}

# Runs a step again only when what it was made from has changed. The place counts: scripts in .venv name their interpreter
# by its whole path. PYTHON counts only where it is given, so that `make PYTHON=... venv` once is enough.
step() {
  local name=$1 made_from
  shift
  made_from=$({ printf '%s\n' "$root"; sha256sum "$@"; } | sha256sum)
  [ "$(cat "$venv/.$name" 2>/dev/null)" != "$made_from" ] || return 0
  "$name"
  printf '%s\n' "$made_from" >"$venv/.$name"
}

system_packages
if [ ! -x "$venv/bin/python" ] || { [ -n "${PYTHON:-}" ] && [ "$(cat "$venv/.python" 2>/dev/null)" != "$PYTHON" ]; }; then
  rm -rf "$venv"
fi
step virtual_environment requirements.lock
step our_package requirements.lock pyproject.toml
