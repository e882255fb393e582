#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# holders: who uses a file, by whatever name; hostile names; what cannot be
# seen. tests/interop/holders.sh has the real programs.
. "$(dirname "$0")/../own_pids.sh"
. "$(dirname "$0")/../lib.sh"
requires qemu-img python3 setpriv

started=()
stop_all()
{
    local one
    for one in ${started[@]+"${started[@]}"}; do
        kill -9 "$one" 2>/dev/null || true
        while kill -0 "$one" 2>/dev/null; do sleep 0.01; done
    done
    started=()
}
cleanup_hooks+=(stop_all)

# start NAME CODE ARGS...: a process that has open and locked what Python's CODE
# leaves behind, is called NAME and waits until stop_all; it is $pid. ARGS are
# the rest of its command line. With NAME "python3" it stays Python.
mkfifo "$test_dir/never"
start()
{
    local name=$1 code=$2
    shift 2
    rm -f "$test_dir/ready"
    python3 -c "import fcntl, mmap, os, struct, sys, time
name, folder, *rest = sys.argv[1:]
def lock(fd, first, nr, kind=fcntl.F_RDLCK, call=37):
    fcntl.fcntl(fd, call, struct.pack('hhqqi4x', kind, 0, first, nr, 0))
$code
if name == 'python3':
    open(folder + '/ready', 'w').close()
    time.sleep(600)
for fd in os.listdir('/proc/self/fd'):
    try:
        os.set_inheritable(int(fd), True)
    except OSError:
        pass
os.execv('/bin/sh', [name, '-c', f': >{folder}/ready; read x <{folder}/never']
         + rest)" "$name" "$test_dir" "$@" &
    pid=$!
    disown "$pid"
    started+=("$pid")
    for _ in $(seq 500); do
        [ ! -e "$test_dir/ready" ] || return 0
        sleep 0.02
    done
    fail "$name does not start"
}

make_image a.qcow2 1M
make_image b.qcow2 1M

# Nobody. An image is told of under the name that was given.
remember
run holders a.qcow2 ./b.qcow2
expect_exit 0
expect_no_stderr
expect_stdout <<'E2'
a.qcow2: not in use
./b.qcow2: not in use
E2
run holders -q a.qcow2
expect_exit 0
expect_no_stdout
run holders --output json a.qcow2
expect_json '(doc["images"][0]["in-use"] is False
             and doc["images"][0]["holders"] == []
             and doc["unseen-processes"] == 0
             and doc["hidden-processes"] is False)'
expect_json "(doc['images'][0]['inode'] == $(stat -c %i a.qcow2) and
             doc['images'][0]['dev'] == $(stat -c %d a.qcow2))"
expect_untouched

# Its other names lead to it, another file under the name does not.
ln a.qcow2 hard
ln -s a.qcow2 soft
start reader 'f = os.open("a.qcow2", os.O_RDONLY)'
for name in hard soft; do
    run holders "$name" b.qcow2
    expect_exit 0
    expect_stdout <<E2
$name: in use
  process $pid (reader), user root
    role      open in another program
    access    read-only
b.qcow2: not in use
E2
done
mv a.qcow2 old.qcow2
make_image a.qcow2 1M
run holders a.qcow2 old.qcow2
expect_line 'a.qcow2: not in use'
expect_line 'old.qcow2: in use'
# The file that its holder calls old.qcow2 is gone; its inode is not.
mv old.qcow2 a.qcow2
stop_all

# How it is open; two descriptors are one holder; a name alone is none.
start w 'f = os.open("a.qcow2", os.O_WRONLY)
g = os.open("b.qcow2", os.O_WRONLY), os.open("b.qcow2", os.O_RDONLY)
h = os.open("hard", os.O_RDWR)
os.close(h)'
start p 'f = os.open("a.qcow2", os.O_PATH), os.open("b.qcow2", os.O_PATH)'
run holders --output json a.qcow2 b.qcow2
expect_json '([[h["access"] for h in i["holders"]] for i in doc["images"]
             ] == [["write-only"], ["read-write"]])'
stop_all

# Mapped, and no longer open.
start python3 'f = open("a.qcow2", "r+b")
m = mmap.mmap(f.fileno(), 4096)
f.close()'
run holders a.qcow2
expect_line '    access    read-write, mapped'
stop_all
start python3 'f = open("a.qcow2", "rb")
m = mmap.mmap(f.fileno(), 4096, prot=mmap.PROT_READ)
f.close()'
run holders --output json a.qcow2
expect_json '([(h["access"], h["mapped"]) for h in doc["images"][0]["holders"]
             ] == [("read-only", True)])'
stop_all

# Locks by their meaning: joined by the kernel, classic, and foreign ones.
# qemu_locks FILE BYTE...: Python that takes them on FILE, as QEMU does.
qemu_locks()
{
    local file=$1
    shift
    echo "f = os.open('$file', os.O_RDWR)"
    printf 'lock(f, %s, 1)\n' "$@"
}
# has_role ROLE USES FORBIDS: of the one holder of a.qcow2.
has_role()
{
    run holders --output json a.qcow2
    expect_exit 0
    expect_json "([(h['role'], ' '.join(h['locks']['uses']),
                   ' '.join(h['locks']['forbids']))
                  for h in doc['images'][0]['holders']] == [('$1', '$2', '$3')])"
}
qemu='qemu-system-x86_64'
start $qemu "$(qemu_locks a.qcow2 100 101 103 201 203)"
has_role active 'consistent-read write resize' 'write resize'
stop_all
start $qemu "$(qemu_locks a.qcow2 100 101 103 200 201 203)"
has_role copy-target 'consistent-read write resize' \
    'consistent-read write resize'
stop_all
start $qemu "$(qemu_locks a.qcow2 100 101)"
has_role shared 'consistent-read write' ''
stop_all
start $qemu "$(qemu_locks a.qcow2 100 102 104 201 203)"
has_role reader 'consistent-read write-unchanged graph-mod' 'write resize'
stop_all
start $qemu 'f = os.open("a.qcow2", os.O_RDWR)'
has_role writer '' ''
stop_all
start kvm 'f = os.open("a.qcow2", os.O_RDONLY)'
has_role reader '' ''
stop_all
start virtlockd 'f = os.open("a.qcow2", os.O_RDWR)
lock(f, 0, 1, fcntl.F_WRLCK, fcntl.F_SETLK)'
has_role other '' ''
expect_json '(doc["images"][0]["holders"][0]["program"] == "virtlockd"
             and doc["images"][0]["holders"][0]["locks"]["others"] ==
                 [{"first": 0, "last": 0, "exclusive": True}])'
run holders a.qcow2
expect_line "    locked    byte 0 (virtlockd's), exclusively"
stop_all
start x 'f = os.open("a.qcow2", os.O_RDWR)
lock(f, 100, 0, fcntl.F_WRLCK)
g = os.open("b.qcow2", os.O_RDWR)
lock(g, 7, 3)'
run holders a.qcow2 b.qcow2
expect_line '    locked    bytes from 100 on, exclusively'
expect_line '    locked    bytes 7-9, shared'
stop_all

# A backing file is one by the header of what the same program has open, also
# of a file whose name is gone; another program's header says nothing of it.
mkdir sub
make_image base.qcow2 1M
(cd sub && make_overlay top.qcow2 ../base.qcow2)
both='f = os.open("base.qcow2", os.O_RDWR), os.open("sub/top.qcow2", os.O_RDWR)
lock(f[0], 100, 1)'
start $qemu "$both"
run holders --output json base.qcow2
expect_json "([(h['role'], h['backing-of']) for h in doc['images'][0]['holders']
             ] == [('backing', [{'filename': '$PWD/sub/top.qcow2',
                                 'format': 'qcow2'}])])"
run holders --root "$PWD/sub" sub/top.qcow2
expect_exit 0
run holders --root "$PWD" base.qcow2
expect_line "    overlay   $PWD/sub/top.qcow2"
refuses 1 'base.qcow2: lies outside the allowed folders' \
    holders --root "$PWD/sub" base.qcow2
stop_all
start $qemu "$both
lock(f[0], 101, 1)
lock(f[0], 201, 1)"
has_commit=$(
    run holders --output json base.qcow2
    grep -c '"role": "commit-target"' "$test_dir/stdout"
)
[ "$has_commit" = 1 ] || fail 'no target of a commit'
stop_all
start reader "$both"
run holders --output json base.qcow2
expect_json '[h["backing-of"] for h in doc["images"][0]["holders"]] == [[]]'
stop_all

# A machine: its name, number and monitor, however they are given.
start $qemu "$(qemu_locks a.qcow2 100)" -name 'guest=web,,1,debug-threads=on' \
    -uuid 11111111-2222-3333-4444-555555555555 \
    -chardev 'socket,id=human,path=/h' -mon chardev=human,mode=readline \
    -chardev 'socket,id=qmp,server=on,path=m,,1.sock' \
    -mon chardev=qmp,id=monitor,mode=control
run holders a.qcow2
expect_stdout <<E2
a.qcow2: in use
  process $pid ($qemu), user root, domain "web,1"
    role      image, read
    access    read-write
    uses      consistent read
    uuid      11111111-2222-3333-4444-555555555555
    monitor   $PWD/m,1.sock
E2
stop_all
start $qemu "$(qemu_locks a.qcow2 100)" -name plain,process=x \
    -qmp unix:/run/q,server=on
run holders --output json a.qcow2
expect_json '([(h["domain"], h["monitor"]) for h in doc["images"][0]["holders"]
             ] == [("plain", "/run/q")])'
stop_all
# -name is QEMU's alone.
start nbdkit 'f = os.open("a.qcow2", os.O_RDONLY)' -name guest=x
run holders --output json a.qcow2
expect_json '([("domain" in h, h["program"])
              for h in doc["images"][0]["holders"]] == [(False, "nbdkit")])'
stop_all

# Names that would take over a terminal, and what is no UTF-8.
start $'bad\n\e[1m\xff' 'f = os.open("a.qcow2", os.O_RDONLY)'
run holders a.qcow2
expect_line "  process $pid (bad\\x0a\\x1b[1m\\xff), user root"
run holders --output json a.qcow2
expect_json '"bad\n\x1b[1m\ufffd" == doc["images"][0]["holders"][0]["command"]'
stop_all
start $qemu "$(qemu_locks a.qcow2 100)" -name $'g"\n\e]0;x' -uuid $'u\n' \
    -qmp $'unix:/\t'
run holders a.qcow2
expect_line "  process $pid ($qemu), user root, domain \"g\"\\x0a\\x1b]0;x\""
expect_line '    uuid      u\x0a'
expect_line '    monitor   /\x09'
stop_all
cp a.qcow2 $'n\n.qcow2'
run holders $'n\n.qcow2'
expect_line 'n\x0a.qcow2: not in use'

# A user who may not look at others: who holds it is unknown, and that there
# are locks is not.
chmod 0755 "$test_dir" "$test_dir/work"
# as_nobody ARGS...: run, as nobody.
as_nobody()
{
    last_command="(nobody) imgchain $*"
    last_exit=0
    setpriv --reuid 65534 --regid 65534 --clear-groups "$imgchain" "$@" \
        >"$test_dir/stdout" 2>"$test_dir/stderr" </dev/null || last_exit=$?
}
if setpriv --reuid 65534 --regid 65534 --clear-groups "$imgchain" --version \
    >/dev/null 2>&1; then
    as_nobody holders a.qcow2
    expect_exit 1
    expect_stdout <<<'a.qcow2: unknown'
    grep -qE '^imgchain: a.qcow2: cannot tell whether it is in use: found '\
'nobody, but [0-9]+ process(es)? could not be looked at \(root may\)$' \
        "$test_dir/stderr" || fail 'why it is unknown is not said'
    as_nobody holders -q a.qcow2
    expect_exit 1
    expect_no_stdout
    as_nobody holders --output json a.qcow2
    expect_exit 1
    expect_json '(doc["images"][0]["in-use"] is None
                 and doc["unseen-processes"] > 0)'
    start $qemu "$(qemu_locks a.qcow2 100 201)"
    as_nobody holders a.qcow2
    expect_exit 0
    expect_stdout <<'E2'
a.qcow2: in use
  locked by a process that cannot be seen from here
    uses      consistent read
    forbids   write
E2
    expect_message 'a.qcow2: others may use it, too: '
    stop_all
    # A file that may not even be opened has a name and an inode all the same.
    chmod 0600 a.qcow2
    as_nobody holders a.qcow2
    expect_exit 1
    expect_stdout <<<'a.qcow2: unknown'
    chmod 0644 a.qcow2
else
    [ "${CI-}" != true ] || fail 'the command cannot be run by nobody'
fi

# Processes come and go while they are looked at.
(while :; do /bin/true <a.qcow2; done) 2>/dev/null &
started+=("$!")
disown "$!"
for _ in $(seq 20); do
    run holders --output json a.qcow2
    expect_exit 0
    expect_no_stderr
done
stop_all

# Without /proc nothing can be told. (A sanitizer needs it itself.)
if [ -z "${IMGCHAIN_SANITIZED-}" ]; then
    last_exit=0
    last_command='imgchain holders a.qcow2, without /proc'
    unshare -m sh -c "mount -t tmpfs none /proc &&
        exec '$imgchain' holders a.qcow2" \
        >"$test_dir/stdout" 2>"$test_dir/stderr" || last_exit=$?
    expect_exit 1
    expect_no_stdout
    expect_stderr <<'E2'
imgchain: found no processes in /proc, which alone tells who has a file open
E2
fi

# What is no file, or not there; the others are still told of.
refuses 1 'gone: cannot open: No such file or directory' holders gone
run holders gone a.qcow2
expect_exit 1
expect_stdout <<<'a.qcow2: not in use'
run holders sub
expect_exit 1
expect_message 'a directory'
refuses 2 'holders: found 0 operands, expected FILE...; see imgchain holders --help' \
    holders
