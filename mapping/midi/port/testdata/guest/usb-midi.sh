#!/bin/bash
# usb-midi.sh make|plug|unplug, inside the guest: a USB-MIDI device through the
# kernel's own gadget and host drivers. The player's end is the card "Test
# Keys", the device's end the card f_midi.
set -e
g=/sys/kernel/config/usb_gadget/g1
case $1 in
make)
  modprobe -a dummy_hcd libcomposite usb_f_midi snd-usb-audio
  mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
  mkdir -p $g/strings/0x409 $g/configs/c.1/strings/0x409 $g/functions/midi.0
  echo 0x1d6b > $g/idVendor; echo 0x0104 > $g/idProduct; echo SN1 > $g/strings/0x409/serialnumber
  echo Test > $g/strings/0x409/manufacturer; echo "Test Keys" > $g/strings/0x409/product
  echo 1 > $g/functions/midi.0/in_ports; echo 1 > $g/functions/midi.0/out_ports; echo testmidi > $g/functions/midi.0/id
  ln -s $g/functions/midi.0 $g/configs/c.1/ ;;
plug) echo dummy_udc.0 > $g/UDC ;;
unplug) echo "" > $g/UDC ;;
esac
