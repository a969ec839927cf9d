import { Alert, Button, Skeleton, Toolbar, ToolbarContent, ToolbarItem } from '@patternfly/react-core';
import { useCallback, useEffect, useMemo, useRef, useState } from 'react';

import { Failure } from '../kubernetes/failure';
import type { KubernetesObject } from '../kubernetes/object';
import { useObject } from '../kubernetes/store';
import { download } from '../parts/download';
import { FailureAlert } from '../parts/failure-alert';
import { GuardedButton } from '../parts/guarded-button';
import { notify } from '../parts/notices';
import { oneAtATime } from '../parts/one-at-a-time';
import { useRight } from '../session/rights';
import { t } from '../words/words';
import { ConflictDialog } from './conflict-dialog';
import { type Flaw, flawsIn } from './guard';
import { isNews as isNewsOf, onto } from './rebase';
import { type Review, ReviewDialog } from './review-dialog';
import { type Edited, read, write } from './write';
import { ofYaml, toYaml } from './yaml-text';
import { YamlPane } from './yaml-pane';

interface Props extends Edited {
  /** What a new object begins with. */
  template?: string;
  onCreated?: (object: KubernetesObject) => void;
}

/** What the pane was last filled with; a new `id` fills it anew. */
interface Filled {
  id: number;
  text: string;
}

/** One object as YAML: edit, review what the server would make of it and what follows, apply. */
export function ResourceEditor(props: Props): React.JSX.Element {
  const { type, namespace, name, template = '', onCreated } = props;
  const [base, setBase] = useState<KubernetesObject>();
  const [filled, setFilled] = useState<Filled>({ id: 0, text: template });
  const [text, setText] = useState(template);
  // The same, at once: an answer may come before what was typed is drawn.
  const latest = useRef<{ base: KubernetesObject | undefined; text: string }>({ base: undefined, text: template });
  const [failure, setFailure] = useState<{ title: string; why: Failure }>();
  const [review, setReview] = useState<Review>();
  const [conflict, setConflict] = useState<{ theirs: KubernetesObject; mine: KubernetesObject }>();
  const [isBusy, setBusy] = useState(false);
  // The state is as old as the last drawing: it alone would let a second key through.
  const [run] = useState(oneAtATime);

  const put = useCallback((content: string, object = latest.current.base) => {
    latest.current = { base: object, text: content };
    setBase(object);
    setText(content);
  }, []);
  const fill = useCallback(
    (content: string, object?: KubernetesObject) => {
      setFilled(({ id }) => ({ id: id + 1, text: content }));
      put(content, object);
    },
    [put],
  );
  const begin = useCallback((object: KubernetesObject) => fill(toYaml(object), object), [fill]);
  const load = useCallback(async () => {
    if (name === undefined) return;
    setFailure(undefined);
    const { text: asked } = latest.current;
    try {
      const object = await read({ type, namespace, name });
      // What was typed, or applied, since it was asked for stays.
      if (latest.current.text === asked) begin(object);
    } catch (thrown) {
      setFailure({ title: t('{name} cannot be read', { name }), why: Failure.of(thrown) });
    }
  }, [type, namespace, name, begin]);
  useEffect(() => void load(), [load]);

  const right = useMemo(() => ({ verb: name === undefined ? 'create' : 'update', type }), [name, type]);
  const may = useRight(right, namespace);
  const isDirty = base === undefined ? name === undefined : text !== toYaml(base);
  const flaws = flawsIn(text);
  const canReview = !isBusy && isDirty && !flaws.some(({ severity }) => severity === 'error');

  /** Does it, shows what the server refuses, and never twice at once. */
  async function guarded(act: () => Promise<void>): Promise<void> {
    await run(async () => {
      setBusy(true);
      setFailure(undefined);
      await act().catch((thrown: unknown) => {
        setReview(undefined);
        setFailure({ title: t('The change was not accepted'), why: Failure.of(thrown) });
      });
      setBusy(false);
    });
  }

  async function look(): Promise<void> {
    for (;;) {
      const asked = latest.current;
      const parsed = ofYaml(asked.text);
      if ('problem' in parsed) throw new Failure(422, 'Invalid', parsed.problem);
      const written = await write(props, asked.base, parsed.object, true);
      // What was typed while the server thought is reviewed too, or applying would drop it.
      if (latest.current !== asked) continue;
      if (written.is === 'conflict') setConflict({ theirs: written.theirs, mine: parsed.object });
      else setReview({ before: asked.base, wanted: parsed.object, after: written.answer.body, warnings: written.answer.warnings });
      return;
    }
  }

  async function apply({ before, wanted }: Review): Promise<void> {
    const written = await write(props, before, wanted, false);
    setReview(undefined);
    if (written.is === 'conflict') {
      setConflict({ theirs: written.theirs, mine: wanted });
      return;
    }
    const { body, warnings } = written.answer;
    for (const warning of warnings) notify({ tone: 'warning', title: body.metadata.name, detail: warning });
    notify({
      tone: 'success',
      title: t('{kind} {name} was saved', { kind: type.kind, name: body.metadata.name }),
      ...(before === undefined ? {} : { undo: { label: t('Undo'), act: () => void undo(before, body) } }),
    });
    if (name === undefined) onCreated?.(body);
    else begin(body);
  }

  /** Writes the version before again, unless somebody has changed the object since. */
  async function undo(before: KubernetesObject, after: KubernetesObject): Promise<void> {
    try {
      const written = await write(props, after, onto(after, before), false);
      if (written.is === 'conflict') throw new Failure(409, 'Conflict', t('Somebody has changed it since.'));
      notify({ tone: 'info', title: t('{name} is as before', { name: before.metadata.name }) });
      // What was typed since it was saved stays; that the object has gone on is told above it.
      if (latest.current.text === toYaml(after)) begin(written.answer.body);
    } catch (thrown) {
      notify({ tone: 'danger', title: t('Not undone'), detail: Failure.of(thrown).message });
    }
  }

  if (name !== undefined && base === undefined) {
    return failure === undefined ? (
      <Skeleton height="20rem" screenreaderText={t('Loading')} />
    ) : (
      <FailureAlert title={failure.title} failure={failure.why} onRetry={() => void load()} />
    );
  }
  return (
    <div className="av-stack">
      {failure !== undefined && <FailureAlert title={failure.title} failure={failure.why} />}
      {name !== undefined && base !== undefined && <News edited={props} base={base} isDirty={isDirty} onTake={() => void load()} />}
      {flaws.map((flaw) => (
        <FlawLine key={`${flaw.from}|${flaw.message}`} flaw={flaw} onFix={({ from, to, insert }) => fill(text.slice(0, from) + insert + text.slice(to))} />
      ))}
      <YamlPane
        key={filled.id}
        start={filled.text}
        label={t('YAML of {name}', { name: name ?? type.kind })}
        onChange={(content) => put(content)}
        onReview={() => canReview && may !== false && void guarded(look)}
      />
      <Toolbar inset={{ default: 'insetNone' }}>
        <ToolbarContent>
          <ToolbarItem><GuardedButton right={right} namespace={namespace} isDisabled={!canReview} isLoading={isBusy} onClick={() => void guarded(look)}>{t('Review changes')}</GuardedButton></ToolbarItem>
          {base !== undefined && <ToolbarItem><Button variant="secondary" isDisabled={!isDirty} onClick={() => begin(base)}>{t('Discard')}</Button></ToolbarItem>}
          {name !== undefined && <ToolbarItem><Button variant="secondary" onClick={() => void load()}>{t('Reload')}</Button></ToolbarItem>}
          <ToolbarItem><Button variant="link" onClick={() => download(new Blob([text], { type: 'application/yaml' }), `${name ?? type.kind}.yaml`)}>{t('Download')}</Button></ToolbarItem>
        </ToolbarContent>
      </Toolbar>
      {review !== undefined && <ReviewDialog review={review} isBusy={isBusy} onApply={() => void guarded(() => apply(review))} onClose={() => setReview(undefined)} />}
      {conflict !== undefined && (
        <ConflictDialog
          {...conflict}
          onClose={() => setConflict(undefined)}
          onTheirs={() => {
            setConflict(undefined);
            begin(conflict.theirs);
          }}
          onMerged={(merged) => {
            setConflict(undefined);
            fill(merged, conflict.theirs);
          }}
        />
      )}
    </div>
  );
}

function FlawLine(props: { flaw: Flaw; onFix: (fix: NonNullable<Flaw['fix']>) => void }): React.JSX.Element {
  const { flaw, onFix } = props;
  const { fix } = flaw;
  return (
    <Alert
      variant={flaw.severity === 'error' ? 'danger' : 'warning'}
      isInline
      isPlain
      title={flaw.message}
      actionLinks={fix === undefined ? undefined : <Button variant="link" isInline onClick={() => onFix(fix)}>{fix.label}</Button>}
    />
  );
}

/** Tells that the object was changed on the server while it is being edited. */
function News(props: { edited: Edited; base: KubernetesObject; isDirty: boolean; onTake: () => void }): React.JSX.Element | null {
  const { edited, base, isDirty, onTake } = props;
  const { object } = useObject<KubernetesObject>(edited.type, edited.namespace, edited.name ?? '');
  const isNews = object !== undefined && isNewsOf(object, base);
  const takes = isNews && !isDirty;
  useEffect(() => {
    if (takes) onTake();
    // What the server has now is taken once per version.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [takes, object?.metadata.resourceVersion]);
  if (!isNews || !isDirty) return null;
  return (
    <Alert
      variant="warning"
      isInline
      title={t('Somebody has changed it meanwhile')}
      actionLinks={<Button variant="link" isInline onClick={onTake}>{t('Discard my changes and show theirs')}</Button>}
    >
      {t('Review your changes to see both side by side.')}
    </Alert>
  );
}
