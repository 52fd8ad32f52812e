FROM alpine
ENV s=/usr/local/lib/x.tar.gz e=
LABEL plain=$s braces=${s}x default=${u-d} colon=${e:-d} plus=${s+p} colonplus=${e:+p} none=${u+p}
LABEL short=${s#*/} long=${s##*/} end=${s%.*} endlong=${s%%.*} first=${s/\//_} all=${s//\//_} q=${s/u?r/U}
LABEL nested=${u:-${s##*/}} words="${u:-a b}" star=${s#/usr*} digit=$1x dollar=$ esc=\$s set=${s:?no} removed=${s/local}
