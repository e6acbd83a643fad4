# Runs argv[3:] on a separate terminal, types argv[2] and Enter after argv[1] is shown, and prints everything that was shown.
import os, pty, select, sys, time

prompt, answer, command = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
shown, typed, limit = b"", False, time.monotonic() + 30
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
    if not typed and prompt and prompt in shown:
        typed = True
        os.write(fd, answer + b"\r")
else:
    os.kill(pid, 9)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.buffer.write(shown)
sys.exit(code if code >= 0 else 99)
