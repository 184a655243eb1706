#!/usr/bin/env bash
# Runs a command on a machine that has odd things beside the tests, so that no test can come to depend on the machine:
#
#   .ci/odd-machine.sh COMMAND [ARGUMENT...]
#
# An odd home directory, time zone, locale and umask for everybody. For root also a network, a host name and mounts of its
# own, with objects and files of our names in them; nothing of that touches the machine itself, and all of it ends with
# the command.
set -euo pipefail

files_in() { # a directory, names: each a file that nobody can read as what it should be
  local directory=$1 name
  shift
  for name in "$@"; do
    mkdir -p "$(dirname "$directory/$name")"
    printf '{ odd\n\tmachine: [\n' >"$directory/$name"
  done
}

odd_home() {
  export HOME=$scratch/home TZ=Asia/Kathmandu LANG=C LC_ALL=C.UTF-8 LC_NUMERIC=C COLUMNS=20 EDITOR=false PAGER=false
  files_in "$HOME" .ansible.cfg .ansible/galaxy_token .kube/config .config/yamllint/config .netrc
  mkdir -p "$HOME/.ssh"
  printf 'Host *\n  ProxyCommand false\n' >"$HOME/.ssh/config"
  printf '[init]\n\tdefaultBranch = odd\n[commit]\n\tgpgSign = true\n[core]\n\tautocrlf = true\n\thooksPath = /nowhere\n' >"$HOME/.gitconfig"
  export ANSIBLE_STDOUT_CALLBACK=minimal ANSIBLE_NOCOWS=0 ANSIBLE_FORCE_COLOR=1 ANSIBLE_FORKS=1 KUBECONFIG=$HOME/.kube/config
  umask 077
}

# In namespaces of its own.
odd_system() {
  local path
  mount --make-rprivate /
  mount -t tmpfs -o mode=755 odd-machine "$scratch/system"
  for path in etc var/lib; do
    mkdir -p "$scratch/system/$path.new" "$scratch/system/$path.work"
    mount -t overlay -o "lowerdir=/$path,upperdir=$scratch/system/$path.new,workdir=$scratch/system/$path.work" odd-machine "/$path"
  done
  umount -R -l /run/netns 2>/dev/null || true # a mount that another covers still looks like one
  mount -t tmpfs -o mode=755 odd-machine /run
  (
    umask 022
    mkdir /run/lock
    files_in /etc/egress-gateway plan.json nftables.nft.orig before.json drained keepalived.conf .swp
    files_in /var/lib/egress-gateway pending.json boot.sh accepts.pyz rollback.pyz
    files_in /run/egress-gateway lock keepalived.pid vrrp.pid keepalived.loaded
    files_in /etc/systemd/system egress-gateway.service egress-gateway-guard.service nftables.service.d/odd.conf
    files_in /etc keepalived/keepalived.conf conntrackd/conntrackd.conf sysctl.d/99-odd.conf modules-load.d/odd.conf nftables.conf
    files_in /etc ansible/ansible.cfg ansible/hosts
    mkdir -p /etc/iproute2/rt_tables.d /etc/iproute2/rt_protos.d
    printf '3000 odd_table\n' >/etc/iproute2/rt_tables.d/odd.conf
    printf '213 odd_protocol\n18 odd_keepalived\n' >/etc/iproute2/rt_protos.d/odd.conf
  )
  hostname odd-machine
  ip link set lo up
  ip link add egress.vxlan type bridge
  ip link add eth0 address 66:65:67:00:00:01 type bridge
  ip link set eth0 up
  ip rule add fwmark 0x26000000/0xff000000 lookup 3000 pref 99
  ip route add blackhole 192.0.2.0/24 table 3000 proto 213
  nft -f - <<'NFT'
table inet egress_gateway {
  map steer_pods4 { type ipv4_addr : mark; }
  chain prerouting { type filter hook prerouting priority 0; ip saddr 192.0.2.0/24 drop; }
}
NFT
}

if [ "${1:-}" = --inside ]; then
  scratch=$2
  shift 2
  odd_system
  odd_home
  exec "$@"
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/system"
if [ "$(id -u)" = 0 ] && unshare --mount --net --uts true 2>/dev/null; then
  unshare --mount --net --uts "${BASH_SOURCE[0]}" --inside "$scratch" "$@"
else
  odd_home
  "$@"
fi
