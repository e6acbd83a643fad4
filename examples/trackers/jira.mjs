// Jira Cloud as a tracker: docs/trackers/command.md. Needs JIRA_URL, JIRA_EMAIL, JIRA_TOKEN, JIRA_JQL.
import { createInterface } from "node:readline";

const { JIRA_URL, JIRA_EMAIL, JIRA_TOKEN, JIRA_JQL: scope } = process.env;
const authorization = `Basic ${Buffer.from(`${JIRA_EMAIL}:${JIRA_TOKEN}`).toString("base64")}`;
const headers = { authorization, "content-type": "application/json" };
const fields = ["summary", "description", "status", "priority", "labels", "created", "updated"];

async function jira(method, path, body) {
  const order = { method, headers, body: JSON.stringify(body) };
  const answer = await fetch(`${JIRA_URL}/rest/api/2/${path}`, order);
  if (answer.ok) return answer.json().catch(() => null);
  throw { status: answer.status, retry_after: answer.headers.get("retry-after") };
}

const issuesIn = (answer) =>
  answer.issues.map(({ id, key, fields: { summary, status, priority, ...more } }) => ({
    ...{ id, identifier: key, title: summary, state: status.name, labels: more.labels },
    ...{ url: `${JIRA_URL}/browse/${key}`, priority: Number(priority?.id ?? 0) },
    ...{ description: more.description, created_at: more.created, updated_at: more.updated },
  }));
const methods = {
  async list({ states, after: nextPageToken }) {
    const jql = `(${scope}) AND status IN (${states.map((one) => JSON.stringify(one))})`;
    const page = await jira("POST", "search/jql", { jql, fields, maxResults: 10, nextPageToken });
    return { issues: issuesIn(page), next: page.nextPageToken };
  },
  async get({ ids }) {
    const order = { issueIdsOrKeys: ids, fields };
    // Without an id symphony asks whether the program works; Jira refuses a read of none.
    const answer = ids.length ? await jira("POST", "issue/bulkfetch", order) : { issues: [] };
    // An issue that Jira could not read now is not gone.
    if (answer.issueErrors?.length) throw { message: "Jira could not read every issue" };
    const issues = issuesIn(answer);
    // A project that may not be read hides its issues, and refuses the search.
    const isWhole = issues.length > 0 && issues.length === ids.length;
    if (!isWhole) await jira("POST", "search/jql", { jql: scope, maxResults: 1 });
    return { issues };
  },
  async move({ issue: { id }, state }) {
    const { transitions } = await jira("GET", `issue/${id}/transitions`);
    const transition = transitions.find(({ to }) => to.name === state);
    if (!transition) throw { code: "not_allowed", message: `no transition leads to ${state}` };
    await jira("POST", `issue/${id}/transitions`, { transition: { id: transition.id } });
  },
  async comment({ issue: { id }, key, body }) {
    const mark = `{anchor:${key}}`; // One comment for each key.
    const { comments } = await jira("GET", `issue/${id}/comment?maxResults=1000`);
    const known = comments.find((one) => one.body.includes(mark));
    const [method, path] = known ? ["PUT", `comment/${known.id}`] : ["POST", "comment"];
    const text = body.replace("<!-- symphony -->", mark); // Jira shows HTML comments.
    await jira(method, `issue/${id}/${path}`, { body: text });
  },
};

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, method, params } = JSON.parse(line);
  const work = methods[method]?.(params) ?? Promise.reject({ code: "unsupported" });
  const done = work.then((result) => ({ result }));
  const said = await done.catch(({ message, cause, ...error }) => ({
    error: { message: cause?.message ?? message, ...error },
  }));
  process.stdout.write(`${JSON.stringify({ id, ...said })}\n`);
});
