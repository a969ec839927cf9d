import { Content, PageSection, SearchInput, Skeleton, Toolbar, ToolbarContent, ToolbarItem } from '@patternfly/react-core';
import type { ReactNode } from 'react';

import type { KubernetesObject } from '../kubernetes/object';
import { isKnown, type Watched } from '../kubernetes/watch-state';
import { t } from '../words/words';
import { Freshness, LiveDot } from './freshness';
import { FILTER } from './shortcuts';
import { useTitle } from './title';

interface Props {
  title: string;
  /** What the list shows, and how fresh that is. */
  watched: Watched<KubernetesObject>;
  /** How many rows are shown, in words. */
  count: string;
  /** What is done with the list as a whole, such as creating. */
  action?: ReactNode;
  /** What is to be known beside the rows. */
  note?: ReactNode;
  /** Toolbar items that choose rows, {@link FilterField} among them. */
  filters: ReactNode;
  /** The table; drawn when it is known what is in it. */
  children: ReactNode;
  /** Dialogs, above everything. */
  dialog?: ReactNode;
}

/** A page that lists the objects of one kind, live: the window is filled, the table scrolls. */
export function ListPage(props: Props): React.JSX.Element {
  const { title, watched } = props;
  useTitle(title);
  return (
    <PageSection isFilled hasOverflowScroll={false} aria-label={title}>
      <div className="av-filling">
        <div className="av-spread">
          <div className="av-row">
            <Content component="h1">{title}</Content>
            <LiveDot watched={watched} />
            <span className="av-subtle av-number" role="status">{props.count}</span>
          </div>
          {props.action}
        </div>
        <Freshness what={title} watched={watched} />
        {props.note}
        <Toolbar inset={{ default: 'insetNone' }}>
          <ToolbarContent>{props.filters}</ToolbarContent>
        </Toolbar>
        {watched.phase === 'loading' && <div className="av-scroll"><Skeleton height="20rem" screenreaderText={t('Loading')} /></div>}
        {isKnown(watched) && props.children}
      </div>
      {props.dialog}
    </PageSection>
  );
}

/** Where the words are typed that rows must have; `/` leads to it. No words are `undefined`. */
export function FilterField(props: { placeholder: string; label: string; value: string | undefined; onChange: (words: string | undefined) => void }): React.JSX.Element {
  const { onChange } = props;
  return (
    <ToolbarItem>
      <SearchInput
        {...{ [FILTER]: '' }}
        placeholder={props.placeholder}
        aria-label={props.label}
        value={props.value ?? ''}
        onChange={(_event, words) => onChange(words === '' ? undefined : words)}
        onClear={() => onChange(undefined)}
      />
    </ToolbarItem>
  );
}
