#!/bin/sh
# The firewall of cres, through ufw. Written by deploy render; the next one replaces it.
#
#   ./ufw.sh --plan    shows what it would do
#   ./ufw.sh           does it, as root; with sudo: sudo --preserve-env=SSH_CONNECTION ./ufw.sh
#
# Running it again changes nothing. Rules that it made and that are declared no more go; those of others stay.
set -eu
mark='deploy cres: '
# Where everybody may knock.
ssh_ports='22'

# A rule a line, as ufw takes it. It stands in the rule's comment as well, by which it is known again.
wanted() {
    cat <<'END'
allow to any port 22 proto tcp
route allow from 10.20.0.0/16 to any port 9000 proto tcp
route allow from 2001:db8::/32 to any port 9000 proto tcp
END
    # Who runs this through SSH stays in.
    if [ -n "${SSH_CONNECTION-}" ]; then
        # shellcheck disable=SC2086  # the client's address and port, then ours
        set -- $SSH_CONNECTION
        case " $ssh_ports " in
            *" $4 "*) ;;
            *) echo "allow from $1 to any port $4 proto tcp" ;;
        esac
    fi
}

# Docker leads what comes to a published port past ufw's own chains. So the chain that it keeps for this asks the rules
# of "ufw route", and lets nothing else in from outside.
docker_chain() {
    cat <<END
# BEGIN deploy: containers
*filter
:DOCKER-USER - [0:0]
:$1-user-forward - [0:0]
-A DOCKER-USER -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A DOCKER-USER -i docker+ -j RETURN
-A DOCKER-USER -i br-+ -j RETURN
-A DOCKER-USER -j $1-user-forward
-A DOCKER-USER -j DROP
COMMIT
# END deploy: containers
END
}

plan=
case "${1-}" in
    --plan) plan=yes ;;
    "") ;;
    *) echo "usage: $0 [--plan]" >&2; exit 2 ;;
esac
[ "$(id -u)" -eq 0 ] || { echo "$0: only root may look at the firewall and change it: sudo $0 $*" >&2; exit 1; }
command -v ufw >/dev/null || { echo "$0: ufw is not installed: apt-get install ufw" >&2; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
: >"$folder/changed"

change() {
    echo "+ $*"
    echo >>"$folder/changed"
    [ -n "$plan" ] || "$@" </dev/null >"$folder/said" 2>&1 || { cat "$folder/said" >&2; exit 1; }
}

replace() { cat "$1" >"$2"; }

wanted >"$folder/wanted"
ufw show added | sed -n "s/^ufw .* comment '$mark\(.*\)'\$/\1/p" >"$folder/present"

# ufw leaves IPv6 alone where it is told so, and then everything passes there.
if ! grep -q '^IPV6=yes' /etc/default/ufw; then
    sed 's/^IPV6=.*/IPV6=yes/' /etc/default/ufw >"$folder/ufw"
    grep -q '^IPV6=yes' "$folder/ufw" || echo 'IPV6=yes' >>"$folder/ufw"
    change replace "$folder/ufw" /etc/default/ufw
fi

# SSH is the first of them, and nothing is closed before it is open.
while read -r rule; do
    # shellcheck disable=SC2086  # the rule is words
    grep -qxF -e "$rule" "$folder/present" || change ufw $rule comment "$mark$rule"
done <"$folder/wanted"
while read -r rule; do
    grep -qxF -e "$rule" "$folder/wanted" && continue
    # shellcheck disable=SC2086
    case $rule in
        route\ *) change ufw --force route delete ${rule#route } ;;
        *) change ufw --force delete $rule ;;
    esac
done <"$folder/present"

policy() {
    grep -q "^DEFAULT_$1_POLICY=\"$3\"" /etc/default/ufw || change ufw default "$4" "$2"
}
policy INPUT incoming DROP deny
policy OUTPUT outgoing ACCEPT allow
policy FORWARD routed DROP deny

again=
for chain in ufw ufw6; do
    rules=/etc/ufw/after${chain#ufw}.rules
    { sed '/^# BEGIN deploy: containers$/,/^# END deploy: containers$/d' "$rules"; docker_chain "$chain"; } >"$folder/$chain"
    if ! cmp -s "$folder/$chain" "$rules"; then
        change replace "$folder/$chain" "$rules"
        again=yes
    fi
done

if ! ufw status | grep -q '^Status: active'; then
    change ufw --force enable
elif [ -n "$again" ]; then
    change ufw reload
fi
[ -s "$folder/changed" ] || echo "nothing to change"
