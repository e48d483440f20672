"""Who gets what so that the sum of the costs is least: the assignment problem."""

import numpy as np

from netdefs.core.errors import InputError


def assign(cost: np.ndarray) -> np.ndarray:
    """Gives each row a column of its own so that the sum of their costs is least.

    With more rows than columns, every column is given away and some rows get none. Where several solutions cost the
    same, one of them is found.

    Args:
        cost: (rows, columns), finite.

    Returns:
        (rows,) whole numbers: the column of each row, -1 for none.

    Raises:
        InputError: the costs are no matrix, or not finite.

    Source: shortest augmenting paths as in Jonker and Volgenant, https://doi.org/10.1007/BF02278710; the time grows
    with rows^2 * columns, and little is left to do after the first step where rows want different columns.
    """
    cost = np.asarray(cost, np.float64)
    if cost.ndim != 2 or not np.isfinite(cost).all():
        raise InputError(f"Costs are (rows, columns) of finite numbers, not {cost.shape} with NaN or infinity.")
    rows, columns = cost.shape
    if rows > columns:
        result = np.full(rows, -1)
        result[assign(cost.T)] = np.arange(columns)
        return result
    result, owner = np.full(rows, -1), np.full(columns, -1)
    if not rows:
        return result
    # Prices: cost - row - column is never below 0, and is 0 where a row has its column.
    row_price, column_price = cost.min(1), np.zeros(columns)
    wanted, first = np.unique(cost.argmin(1), return_index=True)
    owner[wanted], result[first] = first, wanted
    for start in np.flatnonzero(result < 0):
        # The cheapest way from the row without a column to a column without a row, by Dijkstra's rule.
        distance, came_from = np.full(columns, np.inf), np.full(columns, -1)
        reached = np.zeros(columns, bool)
        row, length = start, 0.0
        while True:
            through = cost[row] - column_price + (length - row_price[row])
            shorter = ~reached & (through < distance)
            distance[shorter], came_from[shorter] = through[shorter], row
            column = int(np.where(reached, np.inf, distance).argmin())
            length = distance[column]
            if owner[column] < 0:
                break
            reached[column] = True
            row = owner[column]
        row_price[start] += length
        row_price[owner[reached]] += length - distance[reached]
        column_price[reached] -= length - distance[reached]
        while True:
            row = came_from[column]
            owner[column], result[row], column = row, column, result[row]
            if row == start:
                break
    return result
