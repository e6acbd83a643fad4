import { type Issue, withoutRelations } from "../src/core/model/issue.ts";
import { fill } from "../src/core/prompt/liquid.ts";
import { renderPrompt } from "../src/core/prompt/prompt.ts";

// The cost of rendering a prompt: on a separate thread (as symphony does it), and on the calling thread for comparison.

const rounds = 2_000;
const template = `Work on {{ issue.identifier }}: {{ issue.title }}
{% for label in issue.labels %}- {{ label }}
{% endfor %}{% if issue.description %}{{ issue.description }}{% endif %}`;
const issue: Issue = {
  ...withoutRelations,
  id: "1",
  nativeRef: null,
  identifier: "ENG-1",
  title: "A title of about the usual length",
  description: "What there is to do. ".repeat(100),
  priority: 1,
  state: "Todo",
  branchName: null,
  url: null,
  assigneeId: null,
  labels: ["api", "database"],
  blockedBy: [],
  dispatchable: true,
  createdAt: 0,
  updatedAt: 0,
};

async function each(work: () => unknown): Promise<number> {
  const start = performance.now();
  for (let round = 0; round < rounds; round++) await work();
  return (performance.now() - start) / rounds;
}

const start = performance.now();
await renderPrompt(template, { issue, attempt: null });
const first = performance.now() - start;
const apart = await each(() => renderPrompt(template, { issue, attempt: null }));
const here = await each(() => fill(template, { issue, attempt: null }));
process.stdout.write(
  `first prompt, the thread's start included: ${first.toFixed(0)} ms
each one after it: ${apart.toFixed(3)} ms; on the calling thread: ${here.toFixed(3)} ms
`,
);
