#!/usr/bin/env bash
# The runtime's tests with AVX-512 VNNI on a machine without it: in Linux in Bochs, which emulates a whole computer with
# an Ice Lake processor (QEMU has no AVX-512, and Bochs 2.7 no processor with AVX-VNNI). Debian's or Ubuntu's kernel, a
# CD of it, and /init runs the tests, of which only those that the set makes a difference to.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(uname -m)" = x86_64 ] || { echo "avx512: skipped, not an x86-64 machine"; exit 0; }
! grep -qw avx512_vnni /proc/cpuinfo || { echo "avx512: skipped, the ordinary tests ran it on this machine"; exit 0; }
limit="${KENAR_BOCHS_SECONDS:-1800}"

root=""
[ "$(id -u)" = 0 ] || root="sudo"
missing=
for p in bochs bochs-term bochsbios vgabios isolinux syslinux-common genisoimage cpio busybox-static; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
if [ -n "$missing" ]; then
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    { $root apt-get update -qq && $root apt-get install -y -qq --no-install-recommends $missing; } >&2 ||
        { echo "avx512: skipped, these packages cannot be installed:$missing"; exit 0; }
fi

folder=target/avx512
mkdir -p $folder/cd $folder/files/{proc,dev,bin}
if [ ! -s $folder/cd/vmlinuz ]; then
    # Not installed: only the kernel itself is wanted.
    package="$(apt-cache depends linux-image-cloud-amd64 linux-image-virtual 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)"
    (cd $folder && rm -f linux-image-*.deb && apt-get download -qq -o APT::Sandbox::User=root "$package")
    dpkg-deb --fsys-tarfile $folder/linux-image-*.deb | tar -xO --wildcards './boot/vmlinuz-*' > $folder/vmlinuz
    mv $folder/vmlinuz $folder/cd/
    rm $folder/linux-image-*.deb
fi

# As compiled for the workspace's tests, so that it is there already.
cargo test --release --workspace --lib --no-run 2>&1 | tee $folder/build.log
tests="$(sed -n 's,.*Executable unittests src/lib.rs (\(.*/kenar-[0-9a-f]*\)),\1,p' $folder/build.log)"
strip -o $folder/files/bin/kenar "$tests"
for library in $(ldd "$tests" | grep -o '/[^ ]*'); do
    cp -L --parents "$library" $folder/files
done
cp /bin/busybox $folder/files/bin/
cat > $folder/files/init <<'EOF'
#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
exec > /dev/ttyS0 2>&1
export RUST_TEST_THREADS=1
status=0
# The sets that the machine itself has are left out where they are not what results are compared with.
KENAR_TEST_SETS=scalar,avx512vnni kenar isa:: kernels:: session:: testing::shapes --skip large_inputs || status=$?
KENAR_TEST_SETS=avx512vnni kenar testing::conv testing::stem testing::winograd || status=$?
echo "exit status $status"
busybox sleep 1
busybox reboot -f
EOF
chmod +x $folder/files/init
(cd $folder/files && find . | cpio -o -H newc --quiet) > $folder/cd/initrd

cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 $folder/cd/
# Bochs does not say how large the compact form of XSAVE (321) and the state of protection keys (515) are, and short
# fast copies (580) are there without fast copies. Without ACPI and APIC the kernel is there sooner; `reboot=t` is a
# triple fault, at which Bochs ends.
cat > $folder/cd/isolinux.cfg <<'EOF'
default linux
label linux
kernel vmlinuz
append initrd=initrd console=ttyS0,115200 loglevel=3 mitigations=off tsc=reliable noxsaves clearcpuid=321,515,580 acpi=off noapic nolapic nosmp random.trust_cpu=on lsm= init_on_alloc=0 panic=-1 reboot=t
EOF
genisoimage -quiet -o $folder/cd.iso -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table $folder/cd
cat > $folder/bochsrc <<'EOF'
config_interface: textconfig
display_library: term
cpu: model=corei7_icelake_u, ips=200000000, reset_on_triple_fault=0
memory: guest=512, host=512
boot: cdrom
ata0-master: type=cdrom, path=cd.iso, status=inserted
com1: enabled=1, mode=file, dev=console
log: log
panic: action=fatal
error: action=ignore
clock: sync=none
EOF
# Debian's Bochs starts in its debugger.
echo c > $folder/commands

started=$SECONDS
rm -f $folder/console
# It wants a terminal. A triple fault is its only way out, so its status says nothing.
(cd $folder && TERM=vt100 script -qec "timeout --foreground -k 5 $limit bochs -q -f bochsrc -rc commands" screen) \
    < /dev/null > /dev/null || true
[ -s $folder/console ] || { echo "avx512: Linux did not start in $limit s; see $folder/log"; exit 1; }
tr -d '\r' < $folder/console | grep -vE '^(test .* ok|)$' || true
grep -q '^exit status 0' $folder/console ||
    { echo "avx512: tests failed, or did not end in $limit s"; exit 1; }
echo "avx512: passed in Bochs in $((SECONDS - started)) s"
