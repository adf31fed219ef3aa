//! Images through a detector: one is read while another is computed and a third is drawn and written.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use kenar::detect::Options;

use super::network::Network;
use super::picture;
use super::report::{Image, Object, class_name};
use crate::cli::file::Output;
use crate::data::{Pixels, Placed, Preprocess, read_image};
use crate::draw::{Mark, draw};
use crate::error::Result;

/// Images that wait between two steps.
const WAITING: usize = 3;

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
    read: f64,
    prepare: f64,
    network: f64,
    boxes: f64,
    draw: f64,
    write: f64,
}

impl Timing {
    /// `read 5.1 ms, scale 0.4 ms, network 12.3 ms, ...`, of one image.
    pub fn describe(&self, images: usize) -> String {
        let Self { read, prepare, network, boxes, draw, write } = *self;
        let steps = [
            ("read", read),
            ("scale", prepare),
            ("network", network),
            ("boxes", boxes),
            ("draw", draw),
            ("write", write),
        ];
        let step = |(name, seconds): (&str, f64)| {
            (seconds > 0.0).then(|| format!("{name} {:.2} ms", 1e3 * seconds / images as f64))
        };
        steps.into_iter().filter_map(step).collect::<Vec<_>>().join(", ")
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
    read: f64,
    prepare: f64,
}

/// An image to annotate.
struct Annotated {
    image: Pixels,
    marks: Vec<Mark>,
    output: Output,
    path: PathBuf,
}

/// Looks at all images; `step` is called after each. A failure concerns its own image alone.
pub fn run(
    jobs: Vec<Job>,
    preprocess: &Preprocess,
    network: &mut dyn Network,
    options: &Options<'_>,
    labels: &[String],
    step: &mut dyn FnMut(),
) -> Done {
    std::thread::scope(|scope| {
        let (read_sender, read) = sync_channel(WAITING);
        let (write, write_receiver) = sync_channel(WAITING);
        scope.spawn(move || reader(jobs, preprocess, &read_sender));
        let writer = scope.spawn(move || writer(&write_receiver));
        let mut done = Done::default();
        for ready in read {
            match ready.and_then(|ready| look(ready, network, options, labels, &mut done.timing)) {
                Ok((image, annotated)) => {
                    done.images.push(image);
                    if let Some(annotated) = annotated {
                        // The writer stops only after the last one.
                        let _ = write.send(annotated);
                    }
                }
                Err(error) => done.failures.push(error),
            }
            step();
        }
        drop(write);
        let (draw, write, failures) = writer.join().expect("the writer does not panic");
        (done.timing.draw, done.timing.write) = (draw, write);
        done.failures.extend(failures);
        done
    })
}

fn reader(jobs: Vec<Job>, preprocess: &Preprocess, sender: &SyncSender<Result<Ready>>) {
    for job in jobs {
        let start = Instant::now();
        let ready = read_image(&job.image).map(|image| {
            let read = start.elapsed().as_secs_f64();
            let placed = Placed::new(preprocess, [image.height, image.width]);
            let input = placed.picture(&image);
            let prepare = start.elapsed().as_secs_f64() - read;
            Ready { job, image, input, placed, read, prepare }
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
    let Ready { job, image, input, placed, read, prepare } = ready;
    let finding = network.find(&input, options).map_err(|e| e.in_file(&job.image))?;
    timing.read += read;
    timing.prepare += prepare;
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
fn writer(annotated: &Receiver<Annotated>) -> (f64, f64, Vec<crate::Error>) {
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
