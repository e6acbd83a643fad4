import assert from "node:assert/strict";
import { test } from "node:test";
import { isRunBy, missingProgram, programOf } from "../../../src/core/agent/program-of.ts";

test("A21: a program of the home is looked up where the shell would find it", async () => {
  const env = { HOME: "/home/ada", PATH: "/usr/bin:/bin" };
  for (const line of ["~/bin/agent --go", "exec $HOME/bin/agent", 'A=1 "$HOME/bin/agent" x']) {
    assert.equal(programOf(line, "/home/ada"), "/home/ada/bin/agent", line);
    const missing = await missingProgram({ key: "command.line", line, kind: "command" }, env);
    assert.match(missing?.message ?? "", /starts \/home\/ada\/bin\/agent, and there is no such/);
  }
  for (const line of ["~bob/bin/agent", "$AGENT --go", "cd ~ && agent", "PATH=~/bin agent"]) {
    assert.equal(programOf(line, "/home/ada"), null, line);
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
