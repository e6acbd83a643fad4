// What `serve` and `run` say on a terminal about things that take long. D16 is a row of the cases of the desk.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { type DeliveryProject, deliveryProject } from "../support/makers/delivery-project.ts";
import { eventually, Served, symphony } from "../support/worlds/symphony.ts";
import { noTmux, Tmux } from "../support/worlds/tmux.ts";

/** A git on the PATH whose fetches stand at 42 % until `go` exists. */
function slowGit(place: DeliveryProject) {
  const bin = join(place.root, "bin");
  const go = join(place.root, "go");
  const held = join(place.root, "held");
  const git = execFileSync("sh", ["-c", "command -v git"], { encoding: "utf8" }).trim();
  mkdirSync(bin);
  const script = `#!/bin/sh
case " $* " in *" fetch "*)
  printf 'Receiving objects:  42%% (42/100)\\r' >&2
  touch "${held}"
  while [ ! -e "${go}" ]; do sleep 0.1; done;;
esac
exec "${git}" "$@"
`;
  writeFileSync(join(bin, "git"), script, { mode: 0o755 });
  return {
    path: `${bin}:${process.env["PATH"]}`,
    isHeld: async () => existsSync(held),
    go: () => writeFileSync(go, ""),
  };
}

async function made(place: DeliveryProject, title: string): Promise<void> {
  const { code, stderr } = await symphony(place, "issue", "create", "--title", title);
  assert.equal(code, 0, stderr);
}

describe("things that take long", { skip: noTmux }, () => {
  test("the progress of a clone is one line that is replaced, and the lines of the log stand whole above it", async () => {
    await using place = await deliveryProject();
    const git = slowGit(place);
    await made(place, "Greet");
    const env = { PATH: git.path, HOME: place.root, NO_COLOR: "1", CI: "1" };
    await using terminal = await Tmux.start({ rows: 50, env });
    await terminal.symphony(`serve ${place.workflowPath} --port 0 --data-dir ${place.dataDir}`);
    const spinning = /^[-\\|/] LOCAL-1: hello: receiving objects 42%$/m;
    await terminal.until("the progress is shown", (screen) => spinning.test(screen));
    await made(place, "Second");
    await terminal.until("a line of the log is above it", (screen) =>
      /^\d\d:\d\d:\d\d {2}LOCAL-2 {2}dispatched\n(.*\n)*[-\\|/] LOCAL-1: hello: /m.test(screen),
    );
    git.go();
    await terminal.until("the clone has ended", (screen) => !screen.includes("objects"));
    await terminal.until("both are worked on", (one) => (one.match(/edited/g) ?? []).length >= 2);
    await terminal.key("C-c");
    await terminal.until("it has ended", (screen) => /^ended 0, same$/m.test(screen));
    const history = await terminal.history();
    assert.doesNotMatch(history, /receiving objects|^[-\\|/] /m);
    for (const line of history.split("\n")) {
      assert.equal((line.match(/\d\d:\d\d:\d\d/g) ?? []).length <= 1, true, line);
    }
  });

  test("D16: ACCESSIBLE=1 says each thing once, in a line that stays", async () => {
    await using place = await deliveryProject();
    const git = slowGit(place);
    writeFileSync(join(place.root, "task.md"), "# Greet\n");
    const env = { PATH: git.path, HOME: place.root, NO_COLOR: "1", ACCESSIBLE: "1" };
    await using terminal = await Tmux.start({ rows: 50, env });
    await terminal.symphony(`run ${join(place.root, "task.md")} --workflow ${place.workflowPath}`);
    await eventually("git is held", git.isHeld);
    await terminal.until("it is said", (screen) => /^RUN-1: hello: cloning …$/m.test(screen));
    git.go();
    const screen = await terminal.until("it has ended", (one) => /^ended \d+, same$/m.test(one));
    assert.match(screen, /^starting: .* …$/m);
    assert.equal(screen.match(/cloning …/g)?.length, 1, screen);
    assert.doesNotMatch(screen, /objects/);
    assert.ok(!terminal.raw.includes("\u001b[?25l"), "the cursor stays");
  });

  test("without a terminal there is nothing of it", async () => {
    await using place = await deliveryProject();
    const git = slowGit(place);
    await made(place, "Greet");
    await using server = await Served.start({ ...place, env: { ...place.env, PATH: git.path } });
    await eventually("git is held", git.isHeld);
    git.go();
    await eventually("it is worked on", async () => /event=turn\.started/.test(server.log));
    assert.ok(!server.log.includes("\u001b"), server.log);
    assert.doesNotMatch(server.log, /…|\r|^[-\\|/] /m);
  });
});
