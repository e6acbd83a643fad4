import { once } from "node:events";
import { rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { messageOf, SymphonyError } from "../../model/errors.ts";
import { displayText } from "../display-text.ts";
import type { JsonRpcPeer } from "../json-rpc.ts";
import { objectOf, textOf } from "../json-value.ts";
import type { CodexHome } from "./home.ts";

/** Says what it could do that it must not; nothing it reads or writes is kept. */
const script = `echo ran
outside=$1; port=$2; shift 2
for path in "$@"; do
  if ls "$path/" >/dev/null 2>&1 || head -c 1 "$path" >/dev/null 2>&1; then echo "read $path"; fi
done
if (: >"$outside") 2>/dev/null; then echo "write $outside"; fi
if [ -n "$port" ] && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "reach the network"; fi
exit 0`;

const limitMs = 20_000;
const hint =
  "allow user namespaces (docs/agents/codex.md), or isolate the server and use agent.level danger";

export interface ProbeOptions {
  readonly peer: JsonRpcPeer;
  readonly home: CodexHome;
  readonly workspace: string;
  readonly profile: string;
  /** Whether commands may reach the network. */
  readonly network: boolean;
}

/** Tries the sandbox with a command of our own. Rejects with `agent_unavailable` when it does not hold, or does not work. */
export async function probeSandbox(options: ProbeOptions): Promise<void> {
  const { home, network } = options;
  const listener = createServer((socket) => socket.destroy());
  try {
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    const { port } = listener.address() as AddressInfo;
    const [ran, ...done] = await output(options, network ? "" : String(port));
    if (ran !== "ran") throw refused("the sandbox of codex does not run commands here");
    if (done.length > 0) {
      const what = displayText(done.join(", "), 500);
      throw refused(`the sandbox of codex does not hold, a command could ${what}`);
    }
  } finally {
    listener.close();
    await rm(home.outside, { force: true });
  }
}

async function output(options: ProbeOptions, port: string): Promise<string[]> {
  const { peer, home, workspace, profile } = options;
  const { exitCode, stdout, stderr } = objectOf(
    await peer
      .request("command/exec", {
        command: ["bash", "-c", script, "probe", home.outside, port, ...home.denied],
        cwd: workspace,
        permissionProfile: profile,
        timeoutMs: limitMs,
      })
      .catch((error: unknown) => {
        if (!(error instanceof SymphonyError) || error.code !== "response_error") throw error;
        throw refused(`the sandbox of codex cannot be probed: ${messageOf(error)}`);
      }),
  );
  if (exitCode !== 0) {
    const why = displayText(textOf(stderr) ?? "", 500).trim();
    throw refused(`the sandbox of codex does not run commands here: ${why || "no reason given"}`);
  }
  return (textOf(stdout) ?? "").trim().split("\n");
}

function refused(message: string): SymphonyError {
  return new SymphonyError("agent_unavailable", message, { hint });
}
