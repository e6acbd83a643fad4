// Records the demo: the real command in tmux, 80 columns by 24 lines, as docs/demo.svg. `npm run record`; needs tmux.
// test/journeys/demo.test.ts compares the text of the picture with what the demo prints.

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Frame, picture } from "./picture.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const session = "demo";
const everyMs = 200;
const limitMs = 120_000;

const tmux = (...args: string[]) =>
  execFileSync("tmux", ["-L", "symphony-recording", "-f", "/dev/null", ...args], {
    encoding: "utf8",
  });

// As npx starts it: the README says `npx symphony demo`.
const command = `env -u NO_COLOR npm_command=exec '${process.execPath}' '${root}bin/symphony.js' demo`;
tmux("new-session", "-d", "-s", session, "-x", "80", "-y", "24", command);
try {
  const frames = await record();
  writeFileSync(`${root}docs/demo.svg`, picture(frames));
  process.stdout.write(`docs/demo.svg: ${frames.length} frames\n`);
} finally {
  tmux("kill-server");
}

/** Every different screen until the demo has ended its work, while the question is answered as a person would. */
async function record(): Promise<readonly Frame[]> {
  const frames: Frame[] = [];
  const started = Date.now();
  let toType = [..."Good evening, friends", "Enter"];
  while (Date.now() - started < limitMs) {
    const text = tmux("capture-pane", "-p", "-e", "-t", session);
    if (text.trim() !== "" && text !== frames.at(-1)?.text)
      frames.push({ atMs: Date.now() - started, text });
    if (text.includes("symphony init")) return frames;
    if (text.includes("Type it here.")) {
      const [key = "", ...rest] = toType;
      if (key === "Enter") tmux("send-keys", "-t", session, "Enter");
      else if (key !== "") tmux("send-keys", "-t", session, "-l", key);
      toType = rest;
    }
    await wait(everyMs);
  }
  throw new Error("the demo did not end within two minutes");
}
