/**
 * Method and path of every route: plain data only, so that a command that only calls the server loads no
 * schemas. The schemas are next to this file, in files named after these groups.
 */
export const paths = {
  system: {
    state: { method: "GET", path: "/api/v1/state" },
    runtime: { method: "GET", path: "/api/v1/runtime" },
    refresh: { method: "POST", path: "/api/v1/refresh" },
    pause: { method: "POST", path: "/api/v1/pause" },
    resume: { method: "POST", path: "/api/v1/resume" },
    transitions: { method: "GET", path: "/api/v1/transitions" },
    events: { method: "GET", path: "/api/v1/events" },
    openapi: { method: "GET", path: "/api/v1/openapi.json" },
    metrics: { method: "GET", path: "/metrics" },
    docs: { method: "GET", path: "/api/docs" },
  },
  issues: {
    list: { method: "GET", path: "/api/v1/issues" },
    create: { method: "POST", path: "/api/v1/issues" },
    edit: { method: "PUT", path: "/api/v1/issues/:id" },
    comment: { method: "POST", path: "/api/v1/issues/:id/comments" },
    comments: { method: "GET", path: "/api/v1/issues/:id/comments" },
    detail: { method: "GET", path: "/api/v1/:id" },
    abort: { method: "POST", path: "/api/v1/:id/abort" },
    steer: { method: "POST", path: "/api/v1/:id/steer" },
    model: { method: "POST", path: "/api/v1/:id/model" },
    move: { method: "POST", path: "/api/v1/:id/move" },
    respond: { method: "POST", path: "/api/v1/:id/respond" },
    transition: { method: "POST", path: "/api/v1/:id/transition" },
    attempts: { method: "GET", path: "/api/v1/:id/attempts" },
    repro: { method: "GET", path: "/api/v1/:id/repro" },
    deliver: { method: "POST", path: "/api/v1/:id/deliver" },
    attach: { method: "POST", path: "/api/v1/:id/attach" },
    detach: { method: "POST", path: "/api/v1/:id/detach" },
  },
  attempts: {
    detail: { method: "GET", path: "/api/v1/attempts/:aid" },
  },
  webhooks: {
    linear: { method: "POST", path: "/webhooks/linear" },
    github: { method: "POST", path: "/webhooks/github" },
  },
  templates: {
    list: { method: "GET", path: "/api/v1/templates" },
    create: { method: "POST", path: "/api/v1/templates" },
    detail: { method: "GET", path: "/api/v1/templates/:id" },
    edit: { method: "PUT", path: "/api/v1/templates/:id" },
    remove: { method: "DELETE", path: "/api/v1/templates/:id" },
    preview: { method: "POST", path: "/api/v1/templates/:id/preview" },
    choose: { method: "POST", path: "/api/v1/:id/template" },
    clear: { method: "DELETE", path: "/api/v1/:id/template" },
  },
  usage: {
    list: { method: "GET", path: "/api/v1/usage" },
  },
  audit: {
    list: { method: "GET", path: "/api/v1/audit" },
  },
  workspaces: {
    list: { method: "GET", path: "/api/v1/workspaces" },
    remove: { method: "DELETE", path: "/api/v1/workspaces/:key" },
    restore: { method: "POST", path: "/api/v1/workspaces/:key/restore" },
  },
  secrets: {
    list: { method: "GET", path: "/api/v1/secrets" },
    put: { method: "POST", path: "/api/v1/secrets/:key" },
    remove: { method: "DELETE", path: "/api/v1/secrets/:key" },
  },
  git: {
    context: { method: "GET", path: "/api/v1/git/context" },
    conflicts: { method: "GET", path: "/api/v1/conflicts" },
    diff: { method: "GET", path: "/api/v1/:id/diff" },
  },
  notices: {
    list: { method: "GET", path: "/api/v1/notices" },
    test: { method: "POST", path: "/api/v1/notices/test" },
  },
  workers: {
    list: { method: "GET", path: "/api/v1/workers" },
    invite: { method: "POST", path: "/api/v1/workers" },
    cordon: { method: "PUT", path: "/api/v1/workers/:name" },
    remove: { method: "DELETE", path: "/api/v1/workers/:name" },
  },
  tokens: {
    list: { method: "GET", path: "/api/v1/tokens" },
    add: { method: "POST", path: "/api/v1/tokens" },
    remove: { method: "DELETE", path: "/api/v1/tokens/:name" },
  },
  models: {
    list: { method: "GET", path: "/api/v1/models" },
  },
  key: {
    rotate: { method: "POST", path: "/api/v1/secrets-key/rotate" },
  },
  config: {
    show: { method: "GET", path: "/api/v1/config" },
    schema: { method: "GET", path: "/api/v1/config/schema" },
    overlay: { method: "GET", path: "/api/v1/config/overlay" },
    replaceOverlay: { method: "PUT", path: "/api/v1/config/overlay" },
    removeFromOverlay: { method: "DELETE", path: "/api/v1/config/overlay/:path" },
  },
} as const;
