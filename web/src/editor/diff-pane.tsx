import { MergeView } from '@codemirror/merge';
import { EditorState } from '@codemirror/state';
import { EditorView } from '@codemirror/view';
import { useEffect, useRef } from 'react';

import { t } from '../words/words';
import { pane } from './code-mirror';

/**
 * Two YAML texts side by side, what differs marked. With `onChange` the right one can be edited, and each
 * difference can be taken over from the left.
 */
export function DiffPane(props: {
  left: string;
  right: string;
  leftLabel: string;
  rightLabel: string;
  onChange?: (text: string) => void;
}): React.JSX.Element {
  const { left, right, leftLabel, rightLabel } = props;
  const isEditable = props.onChange !== undefined;
  const place = useRef<HTMLDivElement>(null);
  const latest = useRef(props);
  latest.current = props;
  useEffect(() => {
    if (place.current === null) return undefined;
    const fixed = [EditorState.readOnly.of(true), EditorView.editable.of(false)];
    const told = EditorView.updateListener.of((update) => {
      if (update.docChanged) latest.current.onChange?.(update.state.doc.toString());
    });
    const view = new MergeView({
      parent: place.current,
      a: { doc: left, extensions: [pane(leftLabel), fixed] },
      b: { doc: right, extensions: [pane(rightLabel), isEditable ? told : fixed] },
      collapseUnchanged: { margin: 3, minSize: 6 },
      gutter: true,
      ...(isEditable ? { revertControls: 'a-to-b' as const, renderRevertControl: takeOver } : {}),
    });
    return () => view.destroy();
  }, [left, right, leftLabel, rightLabel, isEditable]);
  return (
    <div>
      <div className="av-two av-small av-subtle"><span>{leftLabel}</span><span>{rightLabel}</span></div>
      <div className="av-editor" ref={place} data-takes-keys="" data-editor="diff" />
    </div>
  );
}

/** The button between two panes that takes one difference over from the left. */
function takeOver(): HTMLElement {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = '→';
  button.title = t('Take this difference from the left');
  button.setAttribute('aria-label', button.title);
  return button;
}
