# The build context of every case, and the tree of the base image: `sh context.sh CONTEXT ROOT BUSYBOX`.
# Times are fixed, so that whether a builder keeps them can be told.
set -euC
umask 022
context=$1 root=$2 busybox=$3

mkdir "$context" && cd "$context"
for name in a.txt b.txt keep.md drop.md dir/c.md dir/d.txt dir/sub/e.txt dir/sub/f.md other/a.txt other/g.txt 'with space' .hidden \
    deep/1/2/3/x.c deep/1/2/y.h deep/1/z.c deep/top.c 'odd[1].txt'; do
    case $name in */*) mkdir -p "${name%/*}" ;; esac
    echo "this is $name" >"$name"
done
printf '#!/bin/sh\necho executed\n' >exec.sh
printf 'a secret' >secret
printf '' >empty.file
mkdir empty sticky
chmod 755 exec.sh; chmod 600 b.txt; chmod 640 other/g.txt; chmod 4755 dir/d.txt; chmod 1777 sticky; chmod 700 other
ln -s a.txt link; ln -s sub dir/linkdir; ln -s /nowhere dangling; ln -s ../dir other/up; ln -s /etc outside
ln a.txt hard
set -- --sort=name --mtime=@1500000000 --owner=1234 --group=55 a.txt dir
tar -cf plain.tar "$@"
gzip -n <plain.tar >packed.tar.gz
"$busybox" bzip2 <plain.tar >packed.tar.bz2
! command -v xz >/dev/null || xz <plain.tar >packed.tar.xz
cp packed.tar.gz misnamed.txt
gzip -n <a.txt >single.gz
chown -R 0:0 . 2>/dev/null || :
chmod 4755 dir/d.txt
find . -depth -exec touch -h -d @1550000000 {} +
touch -d @1550001111 a.txt; touch -h -d @1550002222 link; touch -d @1550003333 dir/sub

mkdir "$root" && cd "$root"
mkdir -m 755 bin dev etc home opt proc sys usr usr/bin var; mkdir -m 700 root; mkdir -m 1777 tmp
cp "$busybox" bin/busybox; chmod 755 bin/busybox
for applet in $(bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox "bin/$applet"; done
printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nother:x:1002:1003::/:/bin/sh\n' >etc/passwd
printf 'root:x:0:\napp:x:1001:\nother:x:1003:\ngrp:x:77:app\n' >etc/group
mkdir -m 750 home/app
mkdir -m 2775 var/shared; echo kept >var/shared/file; ln var/shared/file var/shared/twin; ln -s shared var/link; ln -s /var/shared var/absolute
