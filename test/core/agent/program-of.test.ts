import assert from "node:assert/strict";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { isRunBy, missingProgram, programsOf } from "../../../src/core/agent/program-of.ts";
import { temporaryDir } from "../../support/makers/storage.ts";

const home = "/home/ada";
const key = "command.line";

test("A21: a program of the home is looked up where the shell would find it", async () => {
  const env = { HOME: home, PATH: "/usr/bin:/bin" };
  for (const line of ["~/bin/agent --go", "exec $HOME/bin/agent", 'A=1 "$HOME/bin/agent" x']) {
    assert.deepEqual(programsOf(line, home), ["/home/ada/bin/agent"], line);
    const missing = await missingProgram({ key, line, kind: "command" }, env);
    assert.match(missing?.message ?? "", /starts \/home\/ada\/bin\/agent, and there is no such/);
  }
});

test("A21: the agent is found behind what begins its line", () => {
  for (const [line, ...programs] of [
    ["cd repo && agent --go", "agent"],
    ["cd ~ && exec agent", "agent"],
    ["cd /opt/x && ./agent", "/opt/x/agent"],
    ["cd ~/x; set -e; umask 077; A=1 ./agent", "/home/ada/x/agent"],
    ["A=b agent", "agent"],
    ["env -u C A=b agent", "env", "agent"],
    ["exec -a name agent", "agent"],
    ["nice -n 5 nohup agent", "nice", "nohup", "agent"],
    ["/usr/bin/timeout --foreground -k 5 600 agent", "/usr/bin/timeout", "agent"],
    ["setsid -w stdbuf -oL agent | cat", "setsid", "stdbuf", "agent", "cat"],
    ["sudo -u bot -- taskset -c 0 agent", "sudo", "taskset", "agent"],
    ["export A=1; echo begins; agent", "agent"],
    ["mkdir -p x; cd x; agent", "mkdir", "agent"],
    ["cd x || exit 1; agent", "agent"],
    ["test -d x || mkdir x\nagent", "agent"],
    ["bash -c 'cd x && agent --go'", "bash", "agent"],
    ['agent --text "$(cat a)" # not this', "agent"],
    ["agent `cat a`", "agent"],
    ["agent; other", "agent", "other"],
    ["agent; other || true", "agent"],
    ["other | agent", "other", "agent"],
    ["A+=1 agent", "agent"],
    ["sudo --user bot agent", "sudo"],
    ["sudo -iu bot agent", "sudo"],
    ["flock --wait 10 /tmp/lock agent", "flock"],
    ["flock -n /tmp/lock agent", "flock", "agent"],
    ["xvfb-run --server-num 99 agent", "xvfb-run"],
    ["xvfb-run -a agent", "xvfb-run", "agent"],
    ["nice -5 timeout --kill-after=5 9 agent", "nice", "timeout", "agent"],
    ["exec agent; other", "agent"],
    ["set -e; exec agent\nother", "agent"],
  ]) {
    assert.deepEqual(programsOf(line ?? "", home), programs, line);
  }
});

test("A21: what only the shell can tell is left to it", () => {
  for (const line of [
    ...["~bob/bin/agent", "$AGENT --go", "PATH=~/bin agent", "./agent", "cd $DIR && ./agent"],
    ...["export PATH=~/bin:$PATH; agent", "env PATH=/x agent", ". ~/.nvm/nvm.sh; agent"],
    ...["if test -x a; then agent; fi", "test -x a && agent", "command -v agent && agent"],
    ...["agent || other", "agent() { other; }; agent", "(agent)", "eval agent", "! agent"],
    ...["agent <<END\nother\nEND", "{ agent; }", "command -v agent || other", "A=$(cat x) agent"],
    ...["PATH+=:/opt/x/bin; exec agent", "PATH+=:/x agent", "test -x agent && exec agent; other"],
    ...["typeset A=1; agent", "let A=1; agent", "shift; agent", "builtin cd x; agent", "jobs"],
    ...["popd; agent", "getopts a b", "mapfile A", "disown", "exec 2>x.log; agent"],
    ...["<in agent", "true", "", "cd -"],
  ]) {
    assert.deepEqual(
      programsOf(line, home).filter((one) => one !== "env"),
      [],
      line,
    );
  }
});

test("A21: a script is looked into: its interpreter, and what it is certain to start", async (t) => {
  const dir = temporaryDir(t);
  const env = { HOME: dir, PATH: "/usr/bin:/bin" };
  const script = async (name: string, text: string) => {
    await writeFile(join(dir, name), text);
    await chmod(join(dir, name), 0o755);
  };
  const missing = async (line: string) => {
    const found = await missingProgram({ key, line, kind: "command" }, env);
    return found?.message.replaceAll(dir, "~").replace(/, and .*/, "") ?? null;
  };
  await mkdir(join(dir, "work"));
  await script("wrapped.sh", '#!/bin/sh\nset -e\nexport A=1\nexec no-such-agent "$@"\n');
  await script("outer.sh", `#!/usr/bin/env bash\ncd ${dir}/work || exit\n../wrapped.sh go\n`);
  await script("other.js", "#!/usr/bin/env -S no-such-node --flag\n");
  await script("set.js", "#!/usr/bin/env -S A=1 cat\n");
  await script("options.js", "#!/usr/bin/env -S -u A=1 no-such-node\n");
  await script("left.sh", "#!/bin/sh\nexec cat\nno-such-agent\n");
  await script("fine.sh", '#!/bin/bash\nif [ -n "$A" ]; then no-such-agent; fi\nno-such-agent\n');
  await script("tried.sh", "#!/bin/sh\nno-such-agent || cat\n");
  for (const [line, said] of [
    ["~/wrapped.sh", "starts ~/wrapped.sh, which starts no-such-agent"],
    [
      "timeout 9 ~/outer.sh",
      "starts ~/outer.sh, which starts ~/wrapped.sh, which starts no-such-agent",
    ],
    ["~/other.js", "starts ~/other.js, which runs in no-such-node"],
    ["bash ~/gone.sh", "starts ~/gone.sh"],
    ["exec sh /gone/agent.sh --go", "starts /gone/agent.sh"],
    ["cd /gone && cat", "starts in /gone"],
  ] as const) {
    assert.equal(await missing(line), `${key} ${said}`, line);
  }
  const scripts = ["~/fine.sh", "~/tried.sh", "~/set.js", "~/options.js", "~/left.sh"];
  for (const line of [...scripts, "cd ~/work && cat", "mkdir x; cd /gone; cat"]) {
    assert.equal(await missing(line), null, line);
  }
});

test("A21: what a shell did not find is the agent's own program, also after another that starts it", () => {
  for (const line of [
    ...["agent --go", "cd repo && agent", "exec agent", "env -u A agent", "nice -n 5 agent"],
    ...["timeout -k 5 600 agent --go", "nohup agent", "setsid -w agent", "stdbuf -oL agent"],
    ...["A=1 exec ionice -c 3 agent", "taskset -c 0 agent"],
  ]) {
    assert.equal(isRunBy(line, "agent"), true, line);
  }
  assert.equal(isRunBy("exec ~/bin/agent --go", "/home/ada/bin/agent"), true);
  assert.equal(isRunBy("timeout 9 $HOME/bin/agent", "/home/ada/bin/agent"), true);
  for (const line of ["other agent", "echo agent; timeout 9 other", "~/bin/other", "agents"]) {
    assert.equal(isRunBy(line, "agent"), false, line);
  }
});
