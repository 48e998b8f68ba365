# shellcheck shell=sh disable=SC2034
# Sourced by the scripts in this directory: name, version and date of packages, and a temporary directory, $stage.
#
#   . packaging/release.sh        in the top directory of the sources
#   stage_files                   puts the files of the package below $root, in their final layout
#
# $tools are programs that the script needs.
#
# Takes the script's arguments: [--binaries DIR] OUTDIR. Without --binaries the programs are built.

binaries='' out=''
while [ $# -gt 0 ]; do
  case $1 in
    --binaries) binaries=${2-} && shift ;;
    --binaries=*) binaries=${1#*=} ;;
    -*) out='' && break ;;
    *) out=$1 ;;
  esac
  shift
done
[ -n "$out" ] || {
  echo "usage: packaging/$(basename "$0") [--binaries DIR] OUTDIR" >&2
  exit 2
}
# Told before a build of several minutes, not after it.
for tool in cargo python3 strip ${tools-}; do
  command -v "$tool" >/dev/null || {
    echo "$(basename "$0"): $tool is not installed" >&2
    exit 1
  }
done
if [ -z "$binaries" ]; then
  # The revision that metrics report. Without git it is empty, unless the variable is set.
  : "${WEBSOCKIFY_REVISION=$(git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null)}"
  export WEBSOCKIFY_REVISION
  packaging/build >&2
  binaries=target/package/release
fi
mkdir -p "$out"

name=websockify-rs
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

# The modification time of every file in a package: the time of the last change of the sources.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}"
export SOURCE_DATE_EPOCH

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
umask 022

root=$stage/root

# Installs the files below $root, and strips the $programs among them. Reads $prefix and $libdir.
stage_files() {
  packaging/documents "$binaries"
  packaging/install --destdir "$root" --prefix "${prefix-/usr}" --libdir "${libdir-}" --binaries "$binaries"
  gzip -9n "$root${prefix-/usr}/share/doc/websockify/THIRD-PARTY-LICENSES" "$root${prefix-/usr}"/share/man/man?/*
  programs=$(find "$root" -type f -exec sh -c 'head -c 4 "$1" | grep -q "^.ELF"' _ {} \; -print)
  # shellcheck disable=SC2086 # Several programs.
  packaging/check-glibc $programs
  # shellcheck disable=SC2086
  strip --strip-unneeded --remove-section=.comment --remove-section=.note $programs
}
