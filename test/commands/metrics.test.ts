import assert from "node:assert/strict";
import { test } from "node:test";
import { startApiDouble } from "../support/fakes/api-double.ts";
import { symphony } from "../support/worlds/run-symphony.ts";

const text = `# HELP symphony_issues Issues by status
# TYPE symphony_issues gauge
symphony_issues{status="running"} 2
symphony_issues{status="a \\"b\\" \\\\ c"} 0

# HELP symphony_poll_duration_seconds How long polls took
# TYPE symphony_poll_duration_seconds histogram
symphony_poll_duration_seconds_bucket{le="0.1"} 1
symphony_poll_duration_seconds_bucket{le="+Inf"} 1
symphony_poll_duration_seconds_sum 0.05
symphony_poll_duration_seconds_count 1

# HELP symphony_lag Lag
# TYPE symphony_lag gauge
symphony_lag Nan
`;

test("metrics prints the server's text, or only the metrics that are named", async () => {
  await using api = await startApiDouble();
  api.metrics = text;
  const all = await symphony(["metrics", "--url", api.url]);
  assert.deepEqual([all.code, all.stderr], [0, ""]);
  assert.equal(all.stdout, text.replaceAll("\n\n", "\n"));
  const one = await symphony(["metrics", "symphony_lag", "--url", api.url]);
  assert.equal(one.stdout, text.split("\n\n")[2]);
  const some = await symphony(["metrics", "symphony_p*", "symphony_l*", "--url", api.url]);
  assert.equal(some.stdout.match(/^# TYPE/gm)?.length, 2);
});

test("metrics --json is one document; a histogram keeps its parts, and a value that is no number is null", async () => {
  await using api = await startApiDouble();
  api.metrics = text;
  const { stdout } = await symphony(["metrics", "--json", "--url", api.url]);
  const { metrics } = JSON.parse(stdout);
  assert.deepEqual(metrics[0], {
    name: "symphony_issues",
    help: "Issues by status",
    type: "gauge",
    samples: [
      { name: "symphony_issues", labels: { status: "running" }, value: 2 },
      { name: "symphony_issues", labels: { status: 'a "b" \\ c' }, value: 0 },
    ],
  });
  assert.equal(metrics[1].samples.length, 4);
  assert.deepEqual(metrics[1].samples[1].labels, { le: "+Inf" });
  assert.equal(metrics[2].samples[0].value, null);
});

test("metrics suggests the metric that was probably meant", async () => {
  await using api = await startApiDouble();
  api.metrics = text;
  const { code, stdout, stderr } = await symphony(["metrics", "symphony_isues", "--url", api.url]);
  assert.deepEqual([code, stdout], [3, ""]);
  assert.match(stderr, /did you mean symphony_issues\?/);
});
