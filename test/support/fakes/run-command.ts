import { spawn } from "node:child_process";
import { once } from "node:events";

/** Runs a line of bash in the current directory, as the command of a scripted agent; its whole output is kept. */
export async function runCommand(line: string): Promise<{ output: string; code: number }> {
  const child = spawn("bash", ["-c", line], { stdio: ["ignore", "pipe", "pipe"] });
  const chunks: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  }
  const [code] = await once(child, "close");
  return { output: Buffer.concat(chunks).toString(), code: code ?? -1 };
}
