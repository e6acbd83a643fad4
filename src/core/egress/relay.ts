import { access, constants } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { SymphonyError } from "../model/errors.ts";
import { runCommand } from "../process/run.ts";
import { isSystem } from "../process/view.ts";
import { shellQuoted } from "../text/text.ts";

/*
 * The relay in the sandbox: it offers a unix socket of this machine as an address of the sandbox's
 * own loopback, for programs that know only addresses. Perl is on almost every machine and needs
 * 8 MB, socat 5 MB; Node would need 45 MB for each session.
 */

/** The same in each sandbox: each has a network of its own. */
export const relayPort = 47_821;
/** Where the sandbox has the socket. */
export const relaySocket = "/run/symphony/way.sock";

const probeTimeoutMs = 10_000;

/** Listens before it returns, then works in the background: one process for each connection. */
const perlRelay = `use Socket; my ($port, $path) = @ARGV;
socket(my $in, PF_INET, SOCK_STREAM, 0) or die "socket: $!"; setsockopt($in, SOL_SOCKET, SO_REUSEADDR, 1);
bind($in, sockaddr_in($port, INADDR_LOOPBACK)) or die "bind: $!"; listen($in, 128) or die "listen: $!";
my $up = fork; defined $up or die "fork: $!"; exit 0 if $up; setpgrp(0, 0);
open STDIN, "<", "/dev/null"; open STDOUT, ">", "/dev/null"; open STDERR, ">", "/dev/null";
$SIG{CHLD} = "IGNORE"; $SIG{PIPE} = "IGNORE";
while (1) { accept(my $from, $in) or next; my $child = fork;
if (!defined $child || $child) { close $from; next } close $in; setsockopt($from, 6, 1, 1);
socket(my $to, PF_UNIX, SOCK_STREAM, 0) or exit 1; connect($to, sockaddr_un($path)) or exit 1;
my %open = (fileno $from => [$from, $to], fileno $to => [$to, $from]);
while (%open) { my $ready = ""; vec($ready, $_, 1) = 1 for keys %open;
next if select($ready, undef, undef, undef) < 1;
for my $at (keys %open) { next unless vec($ready, $at, 1); my ($one, $other) = @{$open{$at}};
my $got = sysread($one, my $data, 65536); if (!$got) { shutdown($other, 1); delete $open{$at}; next }
for (my $sent = 0; $sent < $got;) { my $part = syswrite($other, $data, $got - $sent, $sent); exit 1 unless defined $part; $sent += $part } } }
exit 0 }`;

const probes = new Map<string, Promise<string | null>>();

/**
 * Shell lines that start the relay and continue when it listens. Rejects with `agent_unavailable` when the programs for one are missing.
 * A success is remembered; a failure is not, because the program may be installed later.
 */
export async function requireRelay(env: NodeJS.ProcessEnv): Promise<string> {
  const path = env["PATH"] ?? "/usr/bin:/bin";
  const probe = probes.get(path) ?? find(path);
  probes.set(path, probe);
  const found = await probe;
  if (found !== null) return found;
  probes.delete(path);
  throw new SymphonyError(
    "agent_unavailable",
    "the sandbox's way to the model provider needs perl or socat, and neither is installed in a directory of the system",
    { hint: "install perl or socat with the package manager of this machine" },
  );
}

async function find(path: string): Promise<string | null> {
  const perl = await systemProgram("perl", path);
  if (perl !== null && (await works([perl, "-MSocket", "-e", "print 1"]))) {
    return started(`${shellQuoted(perl)} -e ${shellQuoted(perlRelay)} ${relayPort} ${relaySocket}`);
  }
  const socat = await systemProgram("socat", path);
  if (socat === null || !(await works([socat, "-V"]))) return null;
  const listen = `TCP-LISTEN:${relayPort},bind=127.0.0.1,fork,reuseaddr,nodelay`;
  const quiet = "</dev/null >/dev/null 2>&1 &";
  const isUp = `(: </dev/tcp/127.0.0.1/${relayPort}) 2>/dev/null`;
  return started(
    `{ ${shellQuoted(socat)} ${listen} UNIX-CONNECT:${relaySocket} ${quiet} relay=$!; until ${isUp}; do kill -0 "$relay" 2>/dev/null || exit 71; sleep 0.02; done; unset relay; }`,
  );
}

function started(line: string): string {
  return `${line} || { echo "symphony: the relay to the model provider did not start" >&2; exit 71; }`;
}

/** Only a program in a directory of the system is certain to be in the sandbox. */
async function systemProgram(name: string, path: string): Promise<string | null> {
  for (const dir of path.split(delimiter)) {
    const file = join(dir, name);
    if (!isSystem(file)) continue;
    const found = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return file;
  }
  return null;
}

async function works(argv: readonly string[]): Promise<boolean> {
  const { exitCode } = await runCommand({
    argv: [...argv],
    cwd: "/",
    env: { PATH: "/usr/bin:/bin" },
    timeoutMs: probeTimeoutMs,
    outputBytes: 2_000,
  }).catch(() => ({ exitCode: 1 }));
  return exitCode === 0;
}
