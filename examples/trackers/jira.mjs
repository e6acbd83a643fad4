// Jira Cloud as a tracker: docs/trackers/command.md. Needs JIRA_URL, JIRA_EMAIL, JIRA_TOKEN, JIRA_JQL.
import { createInterface } from "node:readline";

const { JIRA_URL, JIRA_EMAIL, JIRA_TOKEN, JIRA_JQL } = process.env;
const authorization = `Basic ${Buffer.from(`${JIRA_EMAIL}:${JIRA_TOKEN}`).toString("base64")}`;
const headers = { authorization, "content-type": "application/json" };
const fields = "summary,description,status,priority,labels,created,updated";
const codes = { 401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "rate_limited" };
const fail = (code, message, more) => Promise.reject({ code, message, ...more });

async function jira(method, path, body) {
  const order = { method, headers, body: body && JSON.stringify(body) };
  const answer = await fetch(`${JIRA_URL}/rest/api/2/${path}`, order);
  if (answer.ok) return answer.json().catch(() => null);
  const retry_after_ms = Number(answer.headers.get("retry-after") ?? 60) * 1000;
  return fail(codes[answer.status] ?? "unavailable", `HTTP ${answer.status}`, { retry_after_ms });
}
const time = (text) => new Date(text).toISOString();
// A line of an answer has at most 1 MiB.
const issueOf = ({ id, key, fields: { summary: title, description, labels, ...more } }) => ({
  ...{ id, identifier: key, title, labels, url: `${JIRA_URL}/browse/${key}` },
  description: description?.slice(0, 8000),
  ...{ state: more.status.name, priority: Number(more.priority?.id ?? 0) },
  ...{ created_at: time(more.created), updated_at: time(more.updated) },
});
const methods = {
  async list({ states, after }) {
    const jql = `(${JIRA_JQL}) AND status IN (${states.map((one) => JSON.stringify(one))})`;
    const query = new URLSearchParams({ jql, fields, maxResults: 25 });
    if (after) query.set("nextPageToken", after);
    const page = await jira("GET", `search/jql?${query}`);
    return { issues: page.issues.map(issueOf), next: page.nextPageToken };
  },
  async get({ ids }) {
    const read = (id) => jira("GET", `issue/${encodeURIComponent(id)}?fields=${fields}`);
    const gone = (error) => (error.code === "not_found" ? null : Promise.reject(error));
    const found = await Promise.all(ids.map((id) => read(id).catch(gone)));
    // A project that may not be read answers 404 for each issue, and refuses the search.
    const query = new URLSearchParams({ jql: JIRA_JQL, fields: "id", maxResults: 1 });
    if (found.includes(null)) await jira("GET", `search/jql?${query}`);
    return { issues: found.filter(Boolean).map(issueOf) };
  },
  async move({ issue, state }) {
    const { transitions } = await jira("GET", `issue/${issue.id}/transitions`);
    const transition = transitions.find(({ to }) => to.name === state);
    if (!transition) return fail("not_allowed", `there is no transition to ${state}`);
    return jira("POST", `issue/${issue.id}/transitions`, { transition: { id: transition.id } });
  },
  async comment({ issue, key, body }) {
    const mark = `{anchor:${key.replaceAll(/[^a-z0-9]/gi, "-")}}`; // One comment for each key.
    const { comments } = await jira("GET", `issue/${issue.id}/comment?maxResults=1000`);
    const id = comments.find((one) => one.body.includes(mark))?.id;
    const [method, path] = id ? ["PUT", `comment/${id}`] : ["POST", "comment"];
    // `[~name]` would notify a person, and Jira shows HTML comments.
    const text = body.replaceAll("[~", "[\u2060~").replaceAll("<!-- symphony -->", "").trim();
    return jira(method, `issue/${issue.id}/${path}`, { body: `${text}\n${mark}` });
  },
};
const write = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, method, params } = JSON.parse(line);
  const work = methods[method] ?? (() => fail("unsupported", `there is no ${method}`));
  await work(params).then(
    (result) => write({ id, result }),
    ({ code, message, ...more }) =>
      write({ id, error: { code: code ?? "unavailable", message, ...more } }),
  );
});
