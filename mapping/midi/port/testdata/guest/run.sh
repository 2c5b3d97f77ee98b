#!/bin/bash
# run.sh FOLDER OUT: boots the guest that build.sh put into FOLDER and runs
# OUT/command in it, as root over a layer in memory above this machine's root.
# OUT is /mnt there. What it prints is printed, and its status returned. The
# processor is emulated: what is measured inside is slower than any real one.
# QX holds more arguments for it.
dir=$1 out=$2; rm -f "$out/status"
timeout -k 5 "${LIMIT:-120}" qemu-system-x86_64 -accel tcg,thread=multi -M q35 -cpu max -smp 2 -m 1024 -nodefaults -no-reboot \
  -display none -serial stdio -monitor none -kernel "$dir"/kernel/boot/vmlinuz-* -initrd "$dir/initrd.gz" \
  -append "console=ttyS0 quiet loglevel=0 panic=-1 tsc=reliable nokaslr mitigations=off random.trust_cpu=on 8250.nr_uarts=1" \
  -fsdev local,id=h,path=/,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=h,mount_tag=host \
  -fsdev local,id=o,path="$out",security_model=none -device virtio-9p-pci,fsdev=o,mount_tag=out ${QX:-} < /dev/null | tr -d '\r'
exit "$(cat "$out/status" 2>/dev/null || echo 99)"
