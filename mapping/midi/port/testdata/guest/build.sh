#!/bin/bash
# Builds a small Linux guest with a real ALSA: sequencer, VirMIDI and a USB-MIDI
# device that can be pulled out. build.sh FOLDER; status 77 and one line if it
# cannot be had. Nothing is changed outside the folder.
set -euo pipefail
dir=$1; mkdir -p "$dir"; cd "$dir"
lacks() { echo "$*"; exit 77; }
for p in qemu-system-x86_64 busybox cpio depmod modprobe aplaymidi; do
  command -v "$p" >/dev/null || lacks "$p is missing (Debian: qemu-system-x86 busybox-static cpio kmod alsa-utils)"
done
[ "$(uname -m)" = x86_64 ] || lacks "the guest is for x86_64"
if ! ls kernel/boot/vmlinuz-* >/dev/null 2>&1; then
  command -v apt-get >/dev/null || lacks "no apt-get to fetch Debian's kernel with"
  find_kernel() { apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image-/{print $2; exit}'; }
  [ -n "$(find_kernel)" ] || apt-get update -q >/dev/null 2>&1 || true
  package=$(find_kernel); [ -n "$package" ] || lacks "the package linux-image-amd64 is not known to apt"
  apt-get download -q "$package" >/dev/null 2>&1 || { apt-get update -q && apt-get download -q "$package"; } >/dev/null 2>&1 ||
    lacks "the package $package cannot be fetched"
  rm -rf kernel.new; mkdir kernel.new
  dpkg -x "$package"_*.deb kernel.new; rm -f "$package"_*.deb
  mv kernel.new kernel
fi
version=$(basename kernel/boot/vmlinuz-* | sed 's/^vmlinuz-//'); from=kernel/lib/modules/$version
rm -rf root; mkdir -p root/{bin,proc,sys,dev,host,rw,sysroot} "root/lib/modules/$version"
cp "$(command -v busybox)" root/bin/busybox
for a in sh mount modprobe mkdir cat echo chroot poweroff; do ln -sf busybox root/bin/$a; done
cp "$from"/modules.{order,builtin,builtin.modinfo} "root/lib/modules/$version/" 2>/dev/null || true
depmod -b kernel "$version" 2>/dev/null || true
for m in virtio_pci 9pnet_virtio 9p overlay snd-seq snd-seq-midi snd-seq-dummy snd-virmidi snd-hrtimer \
  snd-usb-audio dummy_hcd libcomposite usb_f_midi configfs snd-aloop xhci_pci snd-hda-intel snd-hda-codec-generic; do
  modprobe -d kernel -S "$version" --show-depends "$m" 2>/dev/null || true
done | awk '$1=="insmod"{print $2}' | sort -u | while read -r f; do
  r=${f#*/lib/modules/"$version"/}; mkdir -p "root/lib/modules/$version/$(dirname "$r")"; cp "$f" "root/lib/modules/$version/$r"
done
depmod -b "$PWD/root" "$version"
# The guest's root is this machine's, to read, with a layer in memory above it.
cat > root/init <<'I'
#!/bin/sh
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in virtio_pci 9pnet_virtio 9p overlay; do modprobe $m; done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=262144 host /host
mount -t tmpfs tmpfs /rw; mkdir -p /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work overlay /sysroot
for d in dev proc sys; do mount --bind /$d /sysroot/$d; done
mkdir -p /sysroot/run /sysroot/dev/shm /sysroot/lib/modules /sysroot/tmp /sysroot/mnt
mount -t tmpfs tmpfs /sysroot/dev/shm; mount -t tmpfs tmpfs /sysroot/run; mount -t tmpfs tmpfs /sysroot/tmp
mount --bind /lib/modules /sysroot/lib/modules
mount -t 9p -o rw,trans=virtio,version=9p2000.L,msize=262144 out /sysroot/mnt
chroot /sysroot /bin/bash /mnt/command > /dev/console 2>&1
echo $? > /sysroot/mnt/status
poweroff -f
I
chmod +x root/init; (cd root && find . | cpio -o -H newc --quiet | gzip -1 > ../initrd.new)
mv initrd.new initrd.gz
