import { faults, type Mutant } from "./mutant.ts";

const line = "test/core/ssh/command-line.test.ts";
const copies = "test/core/ssh/data-directory.test.ts";
const second = "test/core/ssh/second-host.test.ts";

/** Faults of workers over SSH. */
export const ofTheHosts: readonly Mutant[] = [
  ...faults(
    { file: "src/core/ssh/command-line.ts", tests: [line] },
    ["Z-9: the keys of the user's agent are there on a host", '"ForwardAgent=no", ', ""],
    ["a connection that the user shares is used", '"ControlMaster=no", "ControlPath=none", ', ""],
    [
      "a host with a changed key is called one that is not known",
      "/HAS CHANGED/.test(errors)",
      "/HAS CHANGED/.test(host)",
    ],
  ),
  ...faults(
    { file: "src/core/ssh/returned.ts", tests: [copies], only: "an older data directory" },
    [
      "what is only here is replaced by what a host has",
      'const more = isSame ? "there" : await moreOf(path, now, copy);',
      'const more = "there" as Awaited<ReturnType<typeof moreOf>>;',
    ],
  ),
  ...faults({ file: "src/core/ssh/scripts.ts", tests: [second] }, [
    "Z-8: two servers with one root share a workspace",
    'if [ -n "$by" ] && [ -e "$ws" ]; then say foreign "$by"; exit; fi',
    ":",
  ]),
];
