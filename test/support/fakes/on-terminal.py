# Runs argv[3:] on a separate terminal and prints everything that was shown. After argv[1] is shown, argv[2] and Enter are
# typed; or argv[1] is --steps, and argv[2] a JSON list of pairs: after the first text is shown, the second one is typed.
# Spaces and control sequences do not count, since programs draw text in pieces.
import fcntl, json, os, pty, re, select, struct, sys, termios, time

prompt, answer, command = sys.argv[1], sys.argv[2], sys.argv[3:]
listed = prompt == "--steps"
steps = json.loads(answer) if listed else [[prompt, answer + "\r"]] if prompt else []
size = struct.pack("HHHH", 40, 120, 0, 0)
control = re.compile(r"\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b\[[0-9;?=<>]*[ -/]*[@-~]|\x1b.|\s")


def plain(text):
    return control.sub("", text)


pid, fd = pty.fork()
if pid == 0:
    # Before the program starts: set from outside it could come after a size that the program sets itself.
    fcntl.ioctl(0, termios.TIOCSWINSZ, size)
    os.execvp(command[0], command)
shown, seen, limit = b"", 0, time.monotonic() + (200 if listed else 30)
while time.monotonic() < limit:
    if not select.select([fd], [], [], 1)[0]:
        continue
    try:
        chunk = os.read(fd, 4096)
    except OSError:
        break
    if not chunk:
        break
    shown += chunk
    # A terminal answers where its cursor is, and what it is.
    if b"\x1b[6n" in chunk:
        os.write(fd, b"\x1b[1;1R")
    if b"\x1b[c" in chunk:
        os.write(fd, b"\x1b[?62;c")
    if steps and plain(steps[0][0]) in plain(shown[seen:].decode("utf-8", "replace")):
        seen = len(shown)
        os.write(fd, steps.pop(0)[1].encode())
else:
    os.kill(pid, 9)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(shown)
sys.exit(code if code >= 0 else 99)
