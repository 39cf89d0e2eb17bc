"""The page to try the platform API: it reads the OpenAPI document, and calls what a person fills in. It loads nothing from elsewhere."""

from __future__ import annotations

_STYLE = """
:root { color-scheme: light dark; --good: #177245; --bad: #b3261e; --quiet: #667; --line: #8883; --soft: #8881 }
@media (prefers-color-scheme: dark) { :root { --good: #5ccf96; --bad: #ff8a80; --quiet: #99a } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 3rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .25rem }
p, small { color: var(--quiet) }
details { border-bottom: 1px solid var(--line) } summary { cursor: pointer; padding: .4rem 0 }
summary code:first-child { display: inline-block; min-width: 4.5rem; font-weight: 600 }
label { display: grid; grid-template-columns: 14rem 1fr; gap: .5rem; align-items: baseline; margin: .25rem 0 }
input, textarea { font: .9rem/1.4 ui-monospace, monospace; padding: .3rem .4rem; width: 100%; box-sizing: border-box }
textarea { min-height: 8rem }
button { font: inherit; margin: .5rem 0; padding: .25rem 1rem }
pre { background: var(--soft); padding: .75rem; overflow: auto; max-height: 30rem }
.good { color: var(--good) } .bad { color: var(--bad) }
"""

PAGE = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Muster: platform API</title><style>{_STYLE}</style></head>
<body>
<h1>Muster platform API</h1>
<p id="about">The document is <a href="openapi.json">openapi.json</a>.</p>
<label>Token of an account <input id="token" type="password" autocomplete="off" placeholder="muster token mint prints one"></label>
<main id="operations"><p>Reading the document&hellip;</p></main>
<noscript><p>This page needs JavaScript; <a href="openapi.json">openapi.json</a> says the same.</p></noscript>
<script src="docs.js"></script>
</body>
</html>
"""

SCRIPT = """'use strict';
const made = (tag, fields = {}, ...inside) => {
  const element = Object.assign(document.createElement(tag), fields);
  element.append(...inside);
  return element;
};

const named = (schema, document_) => document_.components.schemas[schema.$ref.split('/').pop()];

const kind = schema => {
  if (schema.$ref) return schema.$ref.split('/').pop();
  return schema.type === 'array' ? `list of ${kind(schema.items)}` : schema.format ?? schema.type;
};

const fieldsOf = (schema, document_) => made('ul', {}, ...Object.entries(named(schema, document_).properties).map(([name, inner]) =>
  made('li', {}, made('code', {textContent: name}), ` ${kind(inner)}`, made('small', {textContent: ` ${inner.description ?? ''}`}))));

const shownAnswer = async (response, answer) => {
  const title = made('span', {className: response.ok ? 'good' : 'bad'}, `${response.status} ${response.statusText}`);
  answer.replaceChildren(title, '\\n');
  if (response.headers.get('content-type') === 'application/json') {
    answer.append(JSON.stringify(await response.json(), null, 2));
    return;
  }
  // A stream is shown as it comes.
  const lines = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await lines.read(); !part.done; part = await lines.read()) answer.append(part.value);
};

const operation = (path, verb, of, document_) => {
  const fields = (of.parameters ?? []).map(parameter => {
    const input = made('input', {placeholder: parameter.description ?? parameter.schema.description ?? '', autocomplete: 'off'});
    return {parameter, input, label: made('label', {}, `${parameter.name} (${parameter.in})`, input)};
  });
  const schema = of.requestBody?.content['application/json'].schema;
  const body = schema && made('textarea', {value: '{\\n}', spellcheck: false});
  const answer = made('pre', {hidden: true});
  const send = made('button', {textContent: 'Send'});
  send.addEventListener('click', async () => {
    let url = path;
    const query = new URLSearchParams();
    const headers = {};
    const token = document.getElementById('token').value.trim();
    if (token) headers.Authorization = `Bearer ${token}`;
    for (const {parameter, input} of fields) {
      if (parameter.in === 'path') url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value && parameter.in === 'query') {
        const several = parameter.schema.type === 'array';
        for (const one of several ? input.value.split(',') : [input.value]) query.append(parameter.name, one.trim());
      } else if (input.value) headers[parameter.name] = input.value;
    }
    if (body) headers['Content-Type'] = 'application/json';
    answer.hidden = false;
    answer.textContent = 'Waiting\\u2026';
    try {
      const options = {method: verb.toUpperCase(), headers, body: body ? body.value : undefined};
      await shownAnswer(await fetch(url + (query.size ? `?${query}` : ''), options), answer);
    } catch (fault) {
      answer.textContent = String(fault);
    }
  });
  const title = made('summary', {}, made('code', {textContent: verb.toUpperCase()}), made('code', {textContent: path}));
  const words = made('p', {textContent: of.description ?? ''});
  const filled = body ? [fieldsOf(schema, document_), body] : [];
  return made('details', {}, title, words, ...fields.map(field => field.label), ...filled, send, answer);
};

const show = document_ => {
  document.getElementById('about').prepend(`${document_.info.description} `);
  const sections = document_.tags.map(tag => {
    const section = made('section', {}, made('h2', {textContent: tag.name}), made('p', {textContent: tag.description}));
    for (const [path, verbs] of Object.entries(document_.paths))
      for (const [verb, of] of Object.entries(verbs))
        if (of.tags.includes(tag.name)) section.append(operation(path, verb, of, document_));
    return section;
  });
  document.getElementById('operations').replaceChildren(...sections);
};

fetch('openapi.json').then(answer => answer.json()).then(show).catch(fault => {
  document.getElementById('operations').textContent = String(fault);
});
"""
