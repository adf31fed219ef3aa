//! Images through a detector: one is read while another is computed and a third is drawn and written.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use kenar::detect::Options;

use super::network::Network;
use super::picture;
use super::report::{Image, Object, class_name};
use super::size::fitting;
use crate::cli::file::Output;
use crate::data::{Pixels, Placed, Preprocess, read_image};
use crate::draw::{Mark, draw};
use crate::error::Result;

/// Images that wait between a thread and the network.
const WAITING: usize = 2;
/// Threads that read, and as many that write; more would only hold more images in memory.
const THREADS: usize = 4;

/// An image to look at, and the file for its annotated copy.
pub struct Job {
    /// The image.
    pub image: PathBuf,
    /// Where the copy goes.
    pub target: Option<(Output, PathBuf)>,
}

/// Seconds, summed over all images.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// From a file's bytes to pixels.
    pub read: f64,
    /// To the network's size.
    pub resize: f64,
    /// The network.
    pub network: f64,
    /// From its outputs to boxes.
    pub boxes: f64,
    /// Boxes and captions onto the image.
    pub draw: f64,
    /// From pixels to a file.
    pub write: f64,
    /// All of it, by the clock: the picture path runs beside the network.
    pub elapsed: f64,
}

impl Timing {
    /// Every step by name.
    pub fn steps(&self) -> [(&'static str, f64); 6] {
        let Self { read, resize, network, boxes, draw, write, elapsed: _ } = *self;
        [
            ("read", read),
            ("resize", resize),
            ("network", network),
            ("boxes", boxes),
            ("draw", draw),
            ("write", write),
        ]
    }
}

/// What came of all jobs.
#[derive(Default)]
pub struct Done {
    /// Images that were looked at, in order.
    pub images: Vec<Image>,
    /// Where the time went.
    pub timing: Timing,
    /// What went wrong with the others, each with its file's name.
    pub failures: Vec<crate::Error>,
}

/// An image that was read.
struct Ready {
    job: Job,
    image: Pixels,
    input: Pixels,
    placed: Placed,
    /// Which of the networks' sizes it was brought to.
    size: usize,
    read: f64,
    resize: f64,
}

/// An image to annotate.
struct Annotated {
    image: Pixels,
    marks: Vec<Mark>,
    output: Output,
    path: PathBuf,
}

/// Looks at all images, each with the network at the size that it fills best; `step` is called after each. A failure concerns
/// its own image alone.
///
/// Several threads read and several write, so that pictures do not hold up the network: image i belongs to thread i modulo
/// their number, which keeps the order.
pub fn run(
    jobs: Vec<Job>,
    preprocess: &[Preprocess],
    networks: &mut [Box<dyn Network + '_>],
    options: &Options<'_>,
    labels: &[String],
    step: &mut dyn FnMut(),
) -> Done {
    let start = Instant::now();
    let count = jobs.len();
    let threads =
        std::thread::available_parallelism().map_or(1, |n| n.get()).min(THREADS).min(count);
    let mut shares: Vec<Vec<Job>> = (0..threads).map(|_| Vec::new()).collect();
    for (i, job) in jobs.into_iter().enumerate() {
        shares[i % threads].push(job);
    }
    std::thread::scope(|scope| {
        let reader = |share| {
            let (sender, ready) = sync_channel(WAITING);
            scope.spawn(move || read(share, preprocess, &sender));
            ready
        };
        let readers: Vec<Receiver<Result<Ready>>> = shares.into_iter().map(reader).collect();
        let writer = |_| {
            let (sender, annotated) = sync_channel(WAITING);
            (sender, scope.spawn(move || write(&annotated)))
        };
        let (senders, writers): (Vec<_>, Vec<_>) = (0..threads).map(writer).unzip();
        let mut done = Done::default();
        for i in 0..count {
            let ready = readers[i % threads].recv().expect("a reader sends one result a job");
            let looked = ready.and_then(|ready| {
                let network = &mut *networks[ready.size];
                look(ready, network, options, labels, &mut done.timing)
            });
            match looked {
                Ok((image, annotated)) => {
                    done.images.push(image);
                    if let Some(annotated) = annotated {
                        // A writer stops only after its last image.
                        let _ = senders[i % threads].send(annotated);
                    }
                }
                Err(error) => done.failures.push(error),
            }
            step();
        }
        drop(senders);
        for writer in writers {
            let (draw, write, failures) = writer.join().expect("a writer does not panic");
            done.timing.draw += draw;
            done.timing.write += write;
            done.failures.extend(failures);
        }
        done.timing.elapsed = start.elapsed().as_secs_f64();
        done
    })
}

fn read(jobs: Vec<Job>, preprocess: &[Preprocess], sender: &SyncSender<Result<Ready>>) {
    for job in jobs {
        let start = Instant::now();
        let ready = read_image(&job.image).map(|image| {
            let read = start.elapsed().as_secs_f64();
            let size = fitting(preprocess, [image.height, image.width]);
            let placed = Placed::new(&preprocess[size], [image.height, image.width]);
            let input = placed.picture(&image);
            let resize = start.elapsed().as_secs_f64() - read;
            Ready { job, image, input, placed, size, read, resize }
        });
        if sender.send(ready).is_err() {
            return;
        }
    }
}

fn look(
    ready: Ready,
    network: &mut dyn Network,
    options: &Options<'_>,
    labels: &[String],
    timing: &mut Timing,
) -> Result<(Image, Option<Annotated>)> {
    let Ready { job, image, input, placed, read, resize, .. } = ready;
    let finding = network.find(&input, options).map_err(|e| e.in_file(&job.image))?;
    timing.read += read;
    timing.resize += resize;
    timing.network += finding.network;
    timing.boxes += finding.boxes;
    let objects: Vec<Object> = finding
        .found
        .into_iter()
        .map(|found| {
            let point = |&[x, y]: &[f32; 2]| {
                let [x, y, ..] = placed.to_image([x, y, x, y]);
                [x, y]
            };
            Object {
                corners: placed.to_image(found.detection.corners),
                class: found.detection.class,
                score: found.detection.score,
                points: found.points.iter().map(point).collect(),
            }
        })
        .collect();
    let annotated = job.target.map(|(output, path)| {
        let mark = |object: &Object| Mark {
            corners: object.corners,
            class: object.class,
            caption: format!("{} {:.2}", class_name(labels, object.class), object.score),
            points: object.points.clone(),
        };
        Annotated { marks: objects.iter().map(mark).collect(), image, output, path }
    });
    Ok((Image { path: job.image, objects }, annotated))
}

/// Returns the seconds of drawing and of writing, and what failed.
fn write(annotated: &Receiver<Annotated>) -> (f64, f64, Vec<crate::Error>) {
    let (mut drawing, mut writing, mut failures) = (0.0, 0.0, Vec::new());
    for Annotated { mut image, marks, output, path } in annotated {
        let start = Instant::now();
        draw(&mut image, &marks);
        let drawn = start.elapsed().as_secs_f64();
        drawing += drawn;
        if let Err(error) = picture::encode(&image, &path).and_then(|bytes| output.write(&bytes)) {
            failures.push(error);
        }
        writing += start.elapsed().as_secs_f64() - drawn;
    }
    (drawing, writing, failures)
}
