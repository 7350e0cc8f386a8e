#!/bin/sh
# What a rented container does at boot; PID 1 is tini, which reaps. sshd comes last: who can log in finds all running.
mkdir -p /run/sshd
/usr/sbin/cron
[ -e /etc/testbed-supervisord ] && supervisord -c /etc/supervisor/supervisord.conf
# The inner parentheses hand the script to PID 1, or it would stay a zombie of `sleep`.
[ -e /root/onstart.sh ] && (bash /root/onstart.sh >/var/log/onstart.log 2>&1 &)
/usr/sbin/sshd
exec sleep infinity
