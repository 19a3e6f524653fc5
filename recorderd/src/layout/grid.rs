//! Pure: no clock, no I/O, no async.
//!
//! The grid in which tiles of one kind are laid out.

/// A place, before it is rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cell {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Height divided by width of tiles.
#[derive(Clone, Debug)]
pub(super) enum Ratio {
    /// So many, each as its picture is.
    Fixed(Vec<Option<f64>>),
    /// So many, between the least and the greatest.
    Free(usize),
}

const RATIO_MIN: f64 = 9.0 / 16.0;
const RATIO_MAX: f64 = 3.0 / 2.0;

/// Of a picture that nobody has seen yet.
pub(super) const UNKNOWN_RATIO: f64 = 3.0 / 4.0;

#[derive(Debug)]
struct Shape {
    columns: usize,
    width: f64,
    height: f64,
}

struct Row {
    /// Ratio of each of its tiles.
    ratios: Vec<f64>,
    width: f64,
    height: f64,
}

/// Cells in an area of this size.
pub(super) fn grid(width: f64, height: f64, ratio: &Ratio) -> Vec<Cell> {
    let (count, limits) = match ratio {
        Ratio::Fixed(ratios) => {
            let first = ratios.first().copied().flatten().unwrap_or(UNKNOWN_RATIO);
            (ratios.len(), (first, first))
        }
        Ratio::Free(count) => (*count, (RATIO_MIN, RATIO_MAX)),
    };
    if count == 0 || width < 1.0 || height < 1.0 {
        return vec![Cell { x: 0.0, y: 0.0, width: 0.0, height: 0.0 }; count];
    }
    let shape = best_shape(width, height, count, limits);
    let cell_ratio = shape.height / shape.width;
    let ratios: Vec<f64> = match ratio {
        Ratio::Fixed(ratios) => ratios.iter().map(|own| own.unwrap_or(UNKNOWN_RATIO)).collect(),
        Ratio::Free(count) => vec![cell_ratio; *count],
    };
    let mut rows: Vec<Row> = ratios
        .chunks(shape.columns)
        .map(|ratios| {
            let row_width = ratios.iter().map(|ratio| shape.height / ratio).sum();
            let mut row = Row { ratios: ratios.to_vec(), width: row_width, height: shape.height };
            if row.width > width {
                row.height *= width / row.width;
                row.width = width;
            }
            row
        })
        .collect();
    grow(&mut rows, width, height);
    place(&rows, width, height, matches!(ratio, Ratio::Fixed(_)))
}

/// The number of columns that gives the largest tiles; the first of equals.
fn best_shape(width: f64, height: f64, count: usize, (least, greatest): (f64, f64)) -> Shape {
    let mut best = Shape { columns: 1, width: 0.0, height: 0.0 };
    for columns in 1..=count {
        let rows = count.div_ceil(columns);
        let (mut w, mut h) =
            ((width / number(columns)).floor().max(1.0), (height / number(rows)).floor().max(1.0));
        let ratio = h / w;
        if ratio > greatest {
            h = w * greatest;
        } else if ratio < least {
            w = h / least;
        }
        if w * h > best.width * best.height {
            best = Shape { columns, width: w, height: h };
        }
    }
    best
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Height that is left goes to rows that do not fill the width.
fn grow(rows: &mut [Row], width: f64, height: f64) {
    let mut left = height - rows.iter().map(|row| row.height).sum::<f64>();
    let mut short = rows.iter().filter(|row| row.width < width).count();
    for row in rows.iter_mut() {
        if left <= 0.0 || short == 0 || row.width >= width {
            continue;
        }
        let room = (width - row.width) / row.width * row.height;
        let more = room.min(left / number(short));
        row.width *= 1.0 + more / row.height;
        row.height += more;
        left -= more;
        short -= 1;
    }
}

fn place(rows: &[Row], width: f64, height: f64, fixed: bool) -> Vec<Cell> {
    let mut cells = Vec::new();
    let used: f64 = rows.iter().map(|row| row.height).sum();
    let mut y = ((height - used) / 2.0).max(0.0);
    for row in rows {
        let mut x = ((width - row.width) / 2.0).max(0.0);
        for ratio in &row.ratios {
            let own = if fixed { row.height / ratio } else { row.width / number(row.ratios.len()) };
            cells.push(Cell { x, y, width: own, height: row.height });
            x += own;
        }
        y += row.height;
    }
    cells
}
