# A host of the test bed as it is when another machine begins there: what an earlier one ran or wrote is no more.
# usage: fresh.sh MACHINE
# Tests share hosts, and a provider's machine takes all it had with it at its end. One that is started again keeps its
# disk, as there; what it was started with it loses, or each start would leave a loop that starts its guard every second.
set -u
marked=/etc/stand-in-machine
last=$(cat "$marked" 2>/dev/null)
echo "$1" >"$marked"

# What of the host itself has to go on: PID 1 and its one child, those who let in; and what came in from outside, as
# this did (its parent is in no namespace of the host).
is_the_hosts() {
    [ "$1" = 1 ] && return 0
    case $(sed -n 's/^PPid:\t//p' "/proc/$1/status" 2>/dev/null) in
    0) return 0 ;;
    1) case $(tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null) in "sleep infinity "* | *sshd*listener* | */cron*) return 0 ;; esac ;;
    "$$") return 0 ;;
    esac
    return 1
}

if [ -z "$last" ] || [ "$last" = "$1" ]; then
    for each in $(grep -lz '^CONTAINER_API_KEY=instance-' /proc/[0-9]*/environ); do
        each=${each#/proc/}
        kill -9 "${each%/environ}"
    done
    exit 0
fi

left=yes
while [ "$left" ]; do # one that was just being started is met at the next look
    left=
    for each in /proc/[0-9]*; do
        each=${each#/proc/}
        if ! is_the_hosts "$each"; then kill -9 "$each" 2>/dev/null && left=yes; fi
    done
done
rm -rf /workspace/* /workspace/.[!.]* /etc/supervisor/conf.d/* /root/onstart.sh /root/.ssh/authorized_keys
rm -rf /var/lib/deploy* /var/log/deploy* /run/supervisor*
crontab -r 2>/dev/null
if [ -e /etc/testbed-supervisord ]; then supervisord -c /etc/supervisor/supervisord.conf; fi
