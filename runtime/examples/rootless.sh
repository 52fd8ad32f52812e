#!/bin/sh
# A container of an ordinary user: a shell on a busybox. Usage: rootless.sh DIRECTORY
set -e
mkdir -p "$1/rootfs/bin" "$1/rootfs/proc" "$1/rootfs/dev" "$1/rootfs/sys"
cp /bin/busybox "$1/rootfs/bin/busybox"
ln -sf busybox "$1/rootfs/bin/sh"
cd "$1"
test -e config.json || runtime spec --rootless
exec runtime run "example-$$"
