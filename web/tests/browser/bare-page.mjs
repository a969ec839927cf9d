// What any page with this list costs in this browser on this machine: pages without libraries and styles.

/** A page that shows nothing that moves. */
export function emptyPage() {
  return '<!doctype html><title>empty</title><p>Nothing.</p>';
}

/** All machines as a plain table, not virtualised, kept up to date by a watch whose every event is drawn at once. */
export function barePage() {
  return `<!doctype html><title>bare</title><p>Machines</p>
<div role="region" aria-label="VirtualMachines" style="height: 600px; overflow: auto"><table><tbody></tbody></table></div>
<script>(${program})()</script>`;
}

/* eslint-env browser */
async function program() {
  const path = '/apis/kubevirt.io/v1/virtualmachines';
  const rows = new Map();
  const memory = (machine) => machine.spec.template.spec.domain.memory.guest;
  const { items, metadata } = await (await fetch(`${path}?pretty=false`, { cache: 'no-store' })).json();
  const body = document.querySelector('tbody');
  for (const machine of items) {
    const row = body.insertRow();
    const { namespace, name, creationTimestamp } = machine.metadata;
    row.dataset.row = `${namespace}/${name}`;
    for (const text of [name, namespace, machine.status?.printableStatus, creationTimestamp, memory(machine)]) row.insertCell().textContent = text;
    rows.set(row.dataset.row, row);
  }
  const watch = await fetch(`${path}?watch=true&resourceVersion=${metadata.resourceVersion}`, { cache: 'no-store' });
  const reader = watch.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const { object } of lines.map((line) => JSON.parse(line))) {
      rows.get(`${object.metadata.namespace}/${object.metadata.name}`).lastChild.textContent = memory(object);
    }
  }
}
