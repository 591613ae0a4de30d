//! Sums over samples of two sides, exact: how strong each is, and how alike they are.

/// Sound below half of what a `step`th of its rate would hold: sums of `2 step - 1` samples, the middle one counted most, one
/// for each `step`.
pub(super) fn below(samples: impl Iterator<Item = i64>, step: usize) -> impl Iterator<Item = i64> {
    let width = 2 * step - 1;
    let weight = move |i: usize| (i + 1).min(2 * step - 1 - i) as i64;
    let mut window = std::collections::VecDeque::with_capacity(width + 1);
    let mut due = width;
    samples.filter_map(move |sample| {
        window.push_back(sample);
        if window.len() > width {
            window.pop_front();
        }
        due -= 1;
        if due > 0 {
            return None;
        }
        due = step;
        let sum: i64 = window.iter().enumerate().map(|(i, s)| weight(i) * s).sum();
        Some(sum / (step * step) as i64)
    })
}

/// Sums over samples of the segment (`a`) and of the source (`b`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    n: i128,
    a: i128,
    b: i128,
    aa: i128,
    bb: i128,
    ab: i128,
    /// Samples of the source at full scale, or beyond: they are cut off there.
    over: i128,
}

/// The largest sample of 16 bits.
const FULL_SCALE: i128 = i16::MAX as i128;

impl Sums {
    pub(super) fn of(pairs: impl Iterator<Item = (i64, i64)>) -> Self {
        let mut sums = Self::default();
        pairs.for_each(|pair| sums.add(pair));
        sums
    }

    fn add(&mut self, (a, b): (i64, i64)) {
        let (a, b) = (i128::from(a), i128::from(b));
        self.n += 1;
        self.a += a;
        self.b += b;
        self.aa += a * a;
        self.bb += b * b;
        self.ab += a * b;
        self.over += i128::from(b.abs() >= FULL_SCALE);
    }

    fn join(&mut self, other: &Self) {
        self.n += other.n;
        self.a += other.a;
        self.b += other.b;
        self.aa += other.aa;
        self.bb += other.bb;
        self.ab += other.ab;
        self.over += other.over;
    }

    /// May the source leave the scale? What is cut off here its encoder is given, and makes all around it softer.
    pub(super) fn is_over(&self) -> bool {
        self.over * 1_000 > self.n
    }

    /// Strength of the segment's.
    pub(super) fn segment(&self) -> u64 {
        self.strength(self.aa, self.a)
    }

    /// Strength of the source's.
    pub(super) fn source(&self) -> u64 {
        self.strength(self.bb, self.b)
    }

    /// Mean square around the mean: a constant is nothing that is heard.
    fn strength(&self, squares: i128, sum: i128) -> u64 {
        let around_mean = (squares * self.n - sum * sum) / (self.n * self.n).max(1);
        u64::try_from(around_mean).unwrap_or_default()
    }

    /// 10,000 of `r²`, less than 0 where one is the other on its head; 0 where one is silent.
    pub(super) fn likeness(&self) -> i32 {
        let both = self.ab * self.n - self.a * self.b;
        let (a, b) = (self.aa * self.n - self.a * self.a, self.bb * self.n - self.b * self.b);
        let (less, more) = (a.min(b), a.max(b));
        if less <= 0 {
            return 0;
        }
        // `both` is at most the root of `less * more`: 10,000 times `more` has room
        let squared = both.abs() * 10_000 / less * both.abs() / more;
        i32::try_from(squared).unwrap_or(10_000) * if both < 0 { -1 } else { 1 }
    }
}

/// Sums of a channel's parts of so many samples each, in order. What is left over and less than half a part belongs to the
/// last one.
pub(super) fn parts(pairs: impl Iterator<Item = (i64, i64)>, of: usize) -> Vec<Sums> {
    let mut parts: Vec<Sums> = Vec::new();
    let mut open = Sums::default();
    for pair in pairs {
        open.add(pair);
        if open.n == of as i128 {
            parts.push(std::mem::take(&mut open));
        }
    }
    match parts.last_mut() {
        Some(last) if open.n < of as i128 / 2 => last.join(&open),
        _ => parts.push(open),
    }
    parts
}
