import { useVirtualizer } from '@tanstack/react-virtual';
import { memo, type ReactNode, useCallback, useEffect, useRef, useState } from 'react';

import { t } from '../words/words';
import { takesKeys } from './keys';
import { RowMenu } from './row-menu';
import { singleKeysAreOn } from './shortcuts';

/** One column of a table. */
export interface Column<T> {
  key: string;
  title: string;
  cell: (row: T) => ReactNode;
  /** As narrow as its content. */
  isTight?: boolean;
  /** Its least width in CSS. If all columns have one, widths do not depend on the rows that are drawn just now. */
  width?: string;
  isSortable?: boolean;
}

/** By what a table is sorted. */
export interface Sorting {
  by: string;
  descending: boolean;
}

/** What a table shows. `columns`, `keyOf`, `menu` must stay the same between renders, or every row is drawn again. */
export interface TableProps<T> {
  label: string;
  rows: readonly T[];
  keyOf: (row: T) => string;
  columns: readonly Column<T>[];
  rowHeight?: number;
  sorting?: Sorting;
  onSort?: (sorting: Sorting) => void;
  selected?: ReadonlySet<string>;
  onSelect?: (key: string, isSelected: boolean) => void;
  onSelectAll?: (isSelected: boolean) => void;
  /** The items of a row's menu, made when it is opened. */
  menu?: (row: T) => ReactNode;
  /** The row that is shown beside the table, and how another one comes there: by a click beside its links, by `p`, or with `j` and `k`. */
  beside?: string | undefined;
  onBeside?: (key: string, moved: boolean) => void;
  /** What is shown if there are no rows. */
  empty?: ReactNode;
}

/** Rows beyond the window that are drawn, so that scrolling shows no gaps. */
const OVERSCAN = 5;
/** Width of the columns that every table may have: check boxes and menus. */
const SIDE = '2.75rem';

/** A table that draws only the rows in the window, whatever their number. `j`, `k`, `x` and `.` work in it. */
export function VirtualTable<T>(props: TableProps<T>): React.JSX.Element {
  const { rows, columns, keyOf, selected, onSelect, menu, beside, onBeside, rowHeight = 52 } = props;
  const region = useRef<HTMLDivElement>(null);
  const [menuOf, setMenuOf] = useState<string>();
  const [current, setCurrent] = useState<string>();
  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => region.current,
    estimateSize: () => rowHeight,
    overscan: OVERSCAN,
    getItemKey: (index) => keyOf(rows[index] as T),
  });
  const items = virtualizer.getVirtualItems();
  const top = items[0]?.start ?? 0;
  const bottom = virtualizer.getTotalSize() - (items.at(-1)?.end ?? 0);
  const openMenu = useCallback((key: string | undefined) => setMenuOf(key), []);
  useRowKeys({ rows, keyOf, current, setCurrent, region, scrollTo: (index) => virtualizer.scrollToIndex(index), onSelect, selected, openMenu: menu === undefined ? undefined : openMenu, beside, onBeside });
  // Always the same function: rows are drawn again if it changes.
  const latest = useRef({ onBeside });
  latest.current = { onBeside };
  const clicked = useCallback((event: React.MouseEvent, key: string) => {
    if (!isPlainClick(event)) return;
    setCurrent(key);
    latest.current.onBeside?.(key, false);
  }, []);

  if (rows.length === 0) return <div className="av-scroll">{props.empty}</div>;
  const width = columns.length + (onSelect === undefined ? 0 : 1) + (menu === undefined ? 0 : 1);
  return (
    <div className="av-scroll" ref={region} role="region" aria-label={props.label} tabIndex={0}>
      <table className={isFixed(columns) ? 'av-table av-fixed' : 'av-table'} aria-label={props.label} aria-rowcount={rows.length + 1}>
        {isFixed(columns) && (
          <colgroup>
            {onSelect !== undefined && <col style={{ width: SIDE }} />}
            {columns.map((column) => <col key={column.key} style={{ width: column.width }} />)}
            {menu !== undefined && <col style={{ width: SIDE }} />}
          </colgroup>
        )}
        <Head {...props} />
        <tbody>
          <tr className="av-spacer" aria-hidden="true"><td colSpan={width} style={{ height: top }} /></tr>
          {items.map((item) => {
            const row = rows[item.index] as T;
            const key = keyOf(row);
            return (
              <Row
                key={key}
                id={key}
                row={row}
                index={item.index}
                columns={columns as readonly Column<unknown>[]}
                isSelected={selected?.has(key) ?? false}
                isCurrent={current === key}
                isBeside={beside === key}
                onClicked={onBeside === undefined ? undefined : clicked}
                onSelect={onSelect}
                menu={menu as ((row: unknown) => ReactNode) | undefined}
                isMenuOpen={menuOf === key}
                openMenu={openMenu}
              />
            );
          })}
          <tr className="av-spacer" aria-hidden="true"><td colSpan={width} style={{ height: bottom }} /></tr>
        </tbody>
      </table>
    </div>
  );
}

function isFixed(columns: readonly Column<never>[]): boolean {
  return columns.every(({ width }) => width !== undefined);
}

function Head<T>(props: TableProps<T>): React.JSX.Element {
  const { columns, sorting, onSort, rows, selected, onSelectAll, menu } = props;
  const isAll = rows.length > 0 && rows.every((row) => selected?.has(props.keyOf(row)));
  return (
    <thead>
      <tr aria-rowindex={1}>
        {props.onSelect !== undefined && (
          <th scope="col" className="av-tight">
            <input type="checkbox" className="av-check" aria-label={t('Select all')} checked={isAll} onChange={(event) => onSelectAll?.(event.target.checked)} />
          </th>
        )}
        {columns.map((column) => {
          const isSorted = sorting?.by === column.key;
          const direction = isSorted ? (sorting.descending ? 'descending' : 'ascending') : undefined;
          return (
            <th key={column.key} scope="col" aria-sort={direction} className={column.isTight === true ? 'av-tight' : undefined}>
              {column.isSortable === true && onSort !== undefined ? (
                <button
                  type="button"
                  className="av-sort"
                  onClick={() => onSort({ by: column.key, descending: isSorted && !sorting.descending })}
                >
                  {column.title} <span aria-hidden="true">{isSorted ? (sorting.descending ? '▼' : '▲') : '↕'}</span>
                </button>
              ) : (
                column.title
              )}
            </th>
          );
        })}
        {menu !== undefined && <th scope="col" className="av-tight"><span className="pf-v6-screen-reader">{t('Actions')}</span></th>}
      </tr>
    </thead>
  );
}

interface RowProps {
  id: string;
  row: unknown;
  index: number;
  columns: readonly Column<unknown>[];
  isSelected: boolean;
  isCurrent: boolean;
  isBeside: boolean;
  onClicked: ((event: React.MouseEvent, key: string) => void) | undefined;
  onSelect: ((key: string, isSelected: boolean) => void) | undefined;
  menu: ((row: unknown) => ReactNode) | undefined;
  isMenuOpen: boolean;
  openMenu: (key: string | undefined) => void;
}

const Row = memo(function Row(props: RowProps): React.JSX.Element {
  const { id, row, columns, isSelected, onSelect, menu, onClicked } = props;
  return (
    <tr
      data-row={id}
      aria-rowindex={props.index + 2}
      aria-selected={onSelect === undefined ? undefined : isSelected}
      aria-current={props.isBeside ? 'true' : undefined}
      className={props.isCurrent ? 'av-current' : undefined}
      onClick={onClicked === undefined ? undefined : (event) => onClicked(event, id)}
    >
      {onSelect !== undefined && (
        <td className="av-tight">
          <input type="checkbox" className="av-check" aria-label={t('Select {name}', { name: id })} checked={isSelected} onChange={(event) => onSelect(id, event.target.checked)} />
        </td>
      )}
      {columns.map((column) => (
        <td key={column.key} className={column.isTight === true ? 'av-tight' : undefined}>
          {column.cell(row)}
        </td>
      ))}
      {menu !== undefined && (
        <td className="av-tight">
          <RowMenu id={id} isOpen={props.isMenuOpen} open={props.openMenu}>
            {props.isMenuOpen ? menu(row) : null}
          </RowMenu>
        </td>
      )}
    </tr>
  );
});

/** Is it a click on the row itself: on nothing that does something of its own, and not the end of marking text? */
function isPlainClick(event: React.MouseEvent): boolean {
  const target = event.target as Element;
  if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return false;
  // What a menu shows hangs elsewhere in the page, though React tells of it here.
  if (!event.currentTarget.contains(target)) return false;
  return target.closest('a, button, input, label, [role=menu]') === null && (window.getSelection()?.isCollapsed ?? true);
}

/**
 * The row that the keys are at moves with `j` and `k`; `x` selects it, `p` shows it beside the table, `.` opens its
 * menu, Enter follows its link.
 */
function useRowKeys<T>(it: {
  rows: readonly T[];
  keyOf: (row: T) => string;
  current: string | undefined;
  setCurrent: (key: string) => void;
  region: React.RefObject<HTMLDivElement | null>;
  scrollTo: (index: number) => void;
  selected: ReadonlySet<string> | undefined;
  onSelect: ((key: string, isSelected: boolean) => void) | undefined;
  openMenu: ((key: string | undefined) => void) | undefined;
  beside: string | undefined;
  onBeside: ((key: string, moved: boolean) => void) | undefined;
}): void {
  const latest = useRef(it);
  latest.current = it;
  useEffect(() => {
    function pressed(event: KeyboardEvent): void {
      const { rows, keyOf, current, setCurrent, region, scrollTo, selected, onSelect, openMenu, beside, onBeside } = latest.current;
      if (event.ctrlKey || event.altKey || event.metaKey || takesKeys(event.target as HTMLElement | null) || !singleKeysAreOn()) return;
      const here = current ?? beside;
      const at = here === undefined ? -1 : rows.findIndex((row) => keyOf(row) === here);
      if (event.key === 'j' || event.key === 'k') {
        const next = Math.min(rows.length - 1, Math.max(0, at + (event.key === 'j' ? 1 : -1)));
        const row = rows[next];
        if (row === undefined) return;
        const key = keyOf(row);
        setCurrent(key);
        scrollTo(next);
        if (beside !== undefined) onBeside?.(key, true);
        requestAnimationFrame(() => region.current?.querySelector<HTMLElement>(`[data-row="${CSS.escape(key)}"] a`)?.focus());
      } else if (event.key === 'x' && current !== undefined) onSelect?.(current, !(selected?.has(current) ?? false));
      else if (event.key === '.' && current !== undefined) openMenu?.(current);
      else if (event.key === 'p' && current !== undefined && onBeside !== undefined) onBeside(current, false);
      else return;
      event.preventDefault();
    }
    window.addEventListener('keydown', pressed);
    return () => window.removeEventListener('keydown', pressed);
  }, []);
}
