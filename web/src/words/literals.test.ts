// Every text that people read goes through `t()` or `plural()`: looked for in the syntax tree of all sources.
import { readdirSync, readFileSync } from 'node:fs';
import { parseSync } from 'vite';
import { expect, test } from 'vitest';

/** A text for people that is not translated, and where it stands. */
interface Literal {
  line: number;
  text: string;
}

interface Node {
  type: string;
  start: number;
  [field: string]: unknown;
}

/** Attributes and properties that people see or hear. */
const SPOKEN: ReadonlySet<string> = new Set([
  'aria-label', 'aria-description', 'aria-roledescription', 'aria-valuetext', 'alt', 'bodyContent', 'cancelLabel', 'count', 'description', 'detail', 'emptyText',
  'footerContent', 'headerContent', 'helperText', 'label', 'placeholder', 'screenreaderText', 'subtitle', 'term', 'title', 'titleText', 'toggleAriaLabel', 'what',
]);
/** What stands in these is typed into a terminal or on a keyboard, in every language the same. */
const VERBATIM: ReadonlySet<string> = new Set(['code', 'kbd', 'pre', 'samp']);
/** Names and Kubernetes' own words, the same in every language. */
const NAMES: ReadonlySet<string> = new Set(['CPU', 'English', 'IP', 'KVM', 'MAC', 'Normal', 'QEMU', 'SSH', 'UID', 'VNC', 'YAML', 'anyvirt', 'kubectl', 'virtio']);
/** Words, unless they are part of a path. */
const WORD = /(?<![/\p{L}])\p{L}[\p{L}\p{M}’'-]+/gu;

/** Texts in a program of TypeScript with JSX that people read in English whatever their language. */
function literalsIn(program: string, name = 'page.tsx'): Literal[] {
  const { program: tree, errors } = parseSync(name, program);
  if (errors.length > 0) throw new Error(`${name}: ${errors[0]?.message}`);
  const found: Literal[] = [];
  const tell = (node: Node, text: string): void => {
    if (isWords(text)) found.push({ line: program.slice(0, node.start).split('\n').length, text: text.trim().replace(/\s+/g, ' ') });
  };
  visit(tree as unknown as Node, tell);
  return found;
}

function isWords(text: string): boolean {
  return (text.match(WORD) ?? []).some((word) => !NAMES.has(word));
}

type Tell = (node: Node, text: string) => void;

function visit(node: Node, tell: Tell): void {
  switch (node.type) {
    case 'JSXElement':
      if (isVerbatim(node.openingElement as Node)) return;
      break;
    case 'JSXText':
      tell(node, node.value as string);
      return;
    case 'JSXAttribute':
      if (SPOKEN.has(nameOf(node))) said(node.value as Node | null, tell);
      break;
    case 'Property':
      if (SPOKEN.has(keyOf(node))) said(node.value as Node, tell);
      break;
    case 'NewExpression':
      // new Failure(code, reason, message)
      if ((node.callee as { name?: string }).name === 'Failure') said((node.arguments as Node[])[2] ?? null, tell);
      break;
    case 'JSXExpressionContainer':
      // In an attribute it is looked at with the attribute.
      if (node['isAttribute'] !== true) said(node.expression as Node, tell);
      break;
    default:
  }
  for (const [field, value] of Object.entries(node)) {
    if (field === 'parent') continue;
    for (const child of Array.isArray(value) ? value : [value]) {
      if (!isNode(child)) continue;
      if (node.type === 'JSXAttribute') child['isAttribute'] = true;
      visit(child, tell);
    }
  }
}

/** Tells of the strings that an expression can be; not of those that it is made from. */
function said(node: Node | null, tell: Tell): void {
  switch (node?.type) {
    case 'Literal':
      if (typeof node.value === 'string') tell(node, node.value);
      return;
    case 'TemplateLiteral':
      tell(node, (node.quasis as { value: { cooked: string } }[]).map(({ value }) => value.cooked).join(' '));
      return;
    case 'JSXExpressionContainer':
      said(node.expression as Node, tell);
      return;
    case 'ConditionalExpression':
      said(node.consequent as Node, tell);
      said(node.alternate as Node, tell);
      return;
    case 'LogicalExpression':
      said(node.left as Node, tell);
      said(node.right as Node, tell);
      return;
    default:
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';
}

function isVerbatim(opening: Node): boolean {
  return VERBATIM.has(nameOf(opening)) || (opening.attributes as Node[]).some((attribute) => nameOf(attribute) === 'isCode');
}

/** The name of an element or an attribute. */
function nameOf(node: Node): string {
  return (node.name as { name?: string } | undefined)?.name ?? '';
}

function keyOf(property: Node): string {
  const key = property.key as { name?: string; value?: string };
  return key.name ?? key.value ?? '';
}

test.each([
  ['text', '<p>Start it</p>', 'Start it'],
  ['an attribute', '<input aria-label="Filter rows" />', 'Filter rows'],
  ['an attribute that is chosen', "<X title={isOn ? 'Switch off' : t('Switch on')} />", 'Switch off'],
  ['a string within an element', "<p>{'Start it'}</p>", 'Start it'],
  ['a string that stands in for what is missing', "<p>{name ?? 'no name'}</p>", 'no name'],
  ['a template', '<p>{`${count} machines`}</p>', 'machines'],
  ['a property', "notify({ title: 'It failed', tone: 'danger' })", 'It failed'],
  ['a failure', "new Failure(0, 'Reason', 'It is gone')", 'It is gone'],
])('%s is noticed if nobody translates it', (_what, program, text) => {
  expect(literalsIn(`\n(${program})`)).toEqual([{ line: 2, text }]);
});

test.each([
  ['what is translated', "<p title={t('Start it')}>{t('It starts')} {plural(2, '{count} row', '{count} rows')}</p>"],
  ['names and signs', '<p>anyvirt · QEMU – {a}/{b}</p>'],
  ['what is typed', '<p><code>kubectl get vm</code> <kbd>Ctrl</kbd></p>'],
  ['a command to copy', '<ClipboardCopy isCode>{`anyvirt console ${name}`}</ClipboardCopy>'],
  ['paths', '<Fact term={`/dev/${device}`} />'],
  ['words for programs', "<div className=\"av row\" role=\"region\" data-state={isOn ? 'switched on' : 'off'} />"],
])('%s may stand there', (_what, program) => {
  expect(literalsIn(`(${program})`)).toEqual([]);
});

test('every text of the console is translated', () => {
  const sources = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((name) => /\.tsx?$/.test(name) && !name.endsWith('.test.ts'));
  expect(sources.length).toBeGreaterThan(80);
  const found = sources.flatMap((name) => literalsIn(readFileSync(`src/${name}`, 'utf8'), name).map(({ line, text }) => `${name}:${line}: ${text}`));
  expect(found).toEqual([]);
});
